"""Runs the `test_` functions of one module and prints a line for each. Portable.

    micropython runner.py test_log

A line is `@@ ` and a JSON array: name, passed, text of the traceback. The exit code is 1 if one
failed. What the tests print themselves stands between.
"""

import gc
import io
import json
import sys


def _text_of(error):
    if not hasattr(sys, "print_exception"):
        return repr(error)
    out = io.StringIO()
    sys.print_exception(error, out)
    return out.getvalue()


def run(module, without=()):
    """Run the tests of an imported module but for some; returns how many failed."""
    failed = 0
    for name in sorted(dir(module)):
        test = getattr(module, name)
        if not name.startswith("test_") or name in without or not callable(test):
            continue
        passed, text = True, ""
        try:
            if test() is not None:
                raise TypeError("a test returns nothing; this one was not run to its end")
        except Exception as error:
            passed, text = False, _text_of(error)
            failed += 1
        print("@@ " + json.dumps([name, passed, text]))
        gc.collect()
    return failed


if __name__ == "__main__":
    sys.exit(1 if run(__import__(sys.argv[1])) else 0)
