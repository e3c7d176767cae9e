"""Where things stand in the text of a module."""


def lines_of(body, name):
    """The lines (first, end), from 0, of a function or class at the top of a module, or of a class: `Class.method`.

    `body` are the nodes of the module. Decorators belong to it. None if there is no such name.
    """
    for part in name.split("."):
        found = [node for node in body if getattr(node, "name", None) == part]
        if not found:
            return None
        body = found[0].body if hasattr(found[0], "body") else []
    return min(part.lineno for part in (found[0], *found[0].decorator_list)) - 1, found[0].end_lineno
