"""Web push without a network: a strict local push service and drivers for real browsers.

`service`   push service that Firefox subscribes to and that judges every push it is sent
`client`    subscriptions without a browser, for volume and faults
`firefox`   Firefox ESR: subscribe, read, click and dismiss real notifications
`chromium`  Chromium's service-worker handlers through the DevTools protocol
"""
