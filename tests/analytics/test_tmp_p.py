import pytest, time
from tests.api.test_schemathesis import api, _checked, build_operation_test, FeedbackSources, FailureGroup
def test_it(api):
    api, headers = api
    found=[]
    for each in api.get_all_operations():
        operation=each.ok()
        if "/reports/" not in operation.label: continue
        t=time.process_time()
        test = build_operation_test(config=api.config, operation=operation, test_func=lambda case: _checked(case, headers), given_kwargs={}, feedback=FeedbackSources())
        try: test()
        except FailureGroup as f: found.append(f"{operation.label}\n{f}\n"+"\n".join(map(str,f.exceptions)))
        except AssertionError as f: found.append(f"{operation.label}\n{f}")
        print(operation.label, round(time.process_time()-t,2))
    print("\n\n".join(found)[:9000])
