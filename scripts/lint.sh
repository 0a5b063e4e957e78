#!/bin/sh
# Every check besides the tests; all of them run, and one failure fails the whole.
cd "$(dirname "$0")/.." || exit 1
failed=""
check() {
    name=$1
    shift
    echo "--- $name"
    "$@" </dev/null || failed="$failed, $name"
}
# Some checks load Django, which needs a database; not the one with your data.
export NUDGE_DATA="${PWD}/var/test" NUDGE_DEMO=0
check "style" .venv/bin/ruff check .
check "format" .venv/bin/ruff format --check .
check "layers" .venv/bin/lint-imports
check "types" .venv/bin/mypy
check "migrations" .venv/bin/python manage.py makemigrations --check --dry-run --skip-checks
if [ -n "$failed" ]; then
    echo "✗ failed: ${failed#, }"
    exit 1
fi
echo "✓ all checks passed"
