"""Check that the code in an archive runs on the stock TorchServe image.

Imports are found by parsing the code, not by running it: the checkout has more packages installed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.common.terminal import UserError

# The oldest Python of the TorchServe images that are supported.
OLDEST_PYTHON = (3, 9)

# Top-level modules that the standard library has gained since then (3.11, 3.14).
YOUNGER_MODULES = frozenset({"tomllib", "annotationlib", "compression"})

# Packages of every TorchServe image beside the standard library, and those of some: triton comes
# with CUDA builds of torch, pillow_heif is installed by whoever wants HEIC. A file that imports one
# of those is imported like the package.
IMAGE_PACKAGES = frozenset({"torch", "torchvision", "PIL", "numpy", "yaml", "ts"})
OPTIONAL_PACKAGES = frozenset({"triton", "pillow_heif"})


class PortabilityError(UserError):
    """The code would not run on the stock image; one line per place, as file:line: reason."""


@dataclass(frozen=True)
class Import:
    """One imported module, and the name imported from it, which may be a module, too."""

    module: str
    name: str | None
    line: int
    relative: bool
    optional: bool  # inside a function, or in a `try` that handles ImportError


def check_portable(folder: Path) -> None:
    """Raise PortabilityError unless an archive with this content runs on the stock image."""
    problems = [*shadowing(folder)]
    found_imports: list[tuple[Path, Import]] = []
    for path in sorted(folder.rglob("*.py")):
        shown = path.relative_to(folder).as_posix()
        try:
            tree = ast.parse(path.read_bytes(), shown, feature_version=OLDEST_PYTHON)
        except SyntaxError as error:
            problems.append(
                f"{shown}:{error.lineno}: not Python {dotted(OLDEST_PYTHON)}: {error.msg}"
            )
            continue
        found_imports.extend((path, found) for found in imports(tree))
    # A file that needs such a package may fail to import, like the package itself.
    optional_files = {path for path, found in found_imports if needs_optional_package(found)}
    for path, found in found_imports:
        reason = why_missing(found, folder, path, optional_files)
        if reason:
            problems.append(f"{path.relative_to(folder).as_posix()}:{found.line}: {reason}")
    if problems:
        raise PortabilityError("\n".join(problems))


def shadowing(folder: Path) -> Iterator[str]:
    """Names in the archive's root that hide a module: a worker's path begins with that folder."""
    taken = sys.stdlib_module_names | IMAGE_PACKAGES | OPTIONAL_PACKAGES
    for path in sorted(folder.iterdir()):
        if path.stem in taken and (path.is_dir() or path.suffix == ".py"):
            yield f"{path.name}:1: hides the module {path.stem} from everything in the worker"


def needs_optional_package(found: Import) -> bool:
    return found.module.partition(".")[0] in OPTIONAL_PACKAGES and not found.optional


def why_missing(
    found: Import, folder: Path, importer: Path, optional_files: set[Path]
) -> str | None:
    """Why the import fails on the stock image; None if it succeeds."""
    if found.relative:
        at_root = importer.parent == folder
        return "a relative import; TorchServe imports this file by itself" if at_root else None
    top = found.module.partition(".")[0]
    if is_packed(folder, top):
        modules = (found.module, f"{found.module}.{found.name}")
        files = {module_file(folder, module) for module in modules}
        if not found.optional and not files.isdisjoint(optional_files):
            return may_be_missing(found.module)
        return why_not_packed(found, folder)
    if needs_optional_package(found) and (importer.parent == folder or importer.stem == "__init__"):
        return may_be_missing(top)  # these files are always imported
    if top in (sys.stdlib_module_names - YOUNGER_MODULES) | IMAGE_PACKAGES:
        return None
    if top in OPTIONAL_PACKAGES:
        # TorchServe imports the files at the root; others can be imported in a function.
        if found.optional or importer.parent != folder:
            return None
        return may_be_missing(top)
    return f"imports {found.module}, which the stock TorchServe image lacks"


def may_be_missing(module: str) -> str:
    return f"{module} may be missing: import it in a function, or handle its ImportError"


def why_not_packed(found: Import, folder: Path) -> str | None:
    """Why an import of the archive's own packages fails; None if it succeeds."""
    if not is_packed(folder, found.module):
        return f"imports {found.module}, which is not packed"
    if found.name is None or is_packed(folder, f"{found.module}.{found.name}"):
        return None
    source = module_file(folder, found.module)
    if source is None or found.name in bound_names(source):
        return None
    return f"imports {found.name} from {found.module}, where it is neither packed nor defined"


def is_packed(folder: Path, module: str) -> bool:
    return module_file(folder, module) is not None or folder.joinpath(*module.split(".")).is_dir()


def module_file(folder: Path, module: str) -> Path | None:
    path = folder.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def bound_names(source: Path) -> set[str]:
    """All names that a module's code binds."""
    names = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


def imports(node: ast.AST, optional: bool = False) -> Iterator[Import]:
    """The imports below `node` that can run: not those for type checkers alone."""
    child: ast.AST
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, None, node.lineno, False, optional)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            module = node.module or ""
            yield Import(module, alias.name, node.lineno, node.level > 0, optional)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.orelse:
            yield from imports(child, optional)
    elif isinstance(node, ast.Try):
        handled = any(handles_import_error(handler) for handler in node.handlers)
        for child in node.body:
            yield from imports(child, optional or handled)
        for child in (*node.handlers, *node.orelse, *node.finalbody):
            yield from imports(child, optional)
    else:
        in_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from imports(child, optional or in_function)


def handles_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {ast.unparse(kind) for kind in kinds}
    return not names.isdisjoint({"ImportError", "ModuleNotFoundError", "Exception"})


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
