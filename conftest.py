"""What the tests of the rungs and those of the tools have in common: some wait for `--whole`."""


def pytest_addoption(parser):
    parser.addoption("--whole", action="store_true", help="test also what other tests would show, in all likelihood")


def pytest_configure(config):
    config.addinivalue_line("markers", "whole: what is tested with --whole alone, as other tests ask nearly the same")
