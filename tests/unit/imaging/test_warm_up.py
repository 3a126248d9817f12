"""Everything that decoding imports is loaded by the warm-up: a confined decoder can load nothing."""

import json
import subprocess
import sys

NEVER_CALLED = {
    "PIL.ImageDraw2": "PIL.ImageDraw.getdraw",
    "PIL.ImageQt": "PIL.Image.toqimage",
    "PIL.ImageShow": "PIL.Image.show",
    "PIL.ImageWin": "PIL.ImageCms.get_display_profile",
    "PIL.MpoImagePlugin": "PIL.JpegImagePlugin.jpeg_factory",
    "defusedxml": "PIL.Image.getxmp",
    "defusedxml.ElementTree": "PIL.Image.getxmp",
    "nvidia.cuda_nvrtc": "kornia_rs._preload_nvrtc",
    "random": "PIL.ImagePalette.random",
    "tempfile": "PIL.JpegImagePlugin.load_djpeg",
}
"""Module that is not loaded -> the function that imports it, which decoders do not call."""

FIND_LATE_IMPORTS = '''
"""Print the modules that functions of the loaded image packages import, and that are not loaded."""
import ast, codecs, importlib.util, json, sys
from pathlib import Path
import worker.imaging.zygote
from worker.imaging.fonts import Fonts
from worker.imaging.warm_up import warm_up

FONT = Path(worker.imaging.zygote.__file__).parents[1] / "data" / "fonts" / "DejaVuSans-Bold.ttf"
PACKAGES = {"PIL", "pillow_heif", "kornia_rs", "cykooz_resizer", "worker"}

def imported(node, package):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    relative = "." * node.level + (node.module or "")
    base = importlib.util.resolve_name(relative, package)
    found = importlib.util.find_spec(base)
    is_package = found is not None and found.submodule_search_locations
    names = [f"{base}.{alias.name}" for alias in node.names] if is_package else []
    return [base, *(name for name in names if importlib.util.find_spec(name))]

def encodings_in(tree):
    """Yield the modules of the encodings that string constants name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isascii():
            try:
                found = codecs.lookup(node.value)
            except (LookupError, ValueError):
                continue
            yield getattr(found.incrementaldecoder, "__module__", "encodings")

warm_up(Fonts((FONT.read_bytes(),)))
late, loaded = set(), set(sys.modules)
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None) or ""
    if name.startswith("worker.imaging."):
        late.update(encodings_in(ast.parse(Path(file).read_text(encoding="utf-8"))))
    if name.partition(".")[0] in PACKAGES and name != "__main__" and file.endswith(".py"):
        for function in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    late.update(imported(node, module.__package__ or name))
print(json.dumps(sorted(late - loaded)))
'''


def test_no_function_that_decoders_call_imports_a_module_that_is_not_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIND_LATE_IMPORTS], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(json.loads(done.stdout.splitlines()[-1])) <= NEVER_CALLED.keys()
