"""Without `--whole`, what other tests would show as well isn't run."""


def pytest_collection_modifyitems(config, items):
    left = [item for item in items if item.get_closest_marker("whole") and not config.getoption("whole")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]
