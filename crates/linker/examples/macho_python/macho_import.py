"""Imports extension modules that were built for macOS into CPython on Linux.

`install(library, *folders)` loads `libmacho_python.so` and has `import` look into the folders, in which wheels for macOS
are unpacked. Python files of these folders are imported as usual, and extension modules (`.cpython-311-darwin.so`,
`.abi3.so`) by the Mach-O linker.
"""

import ctypes
import importlib.machinery
import importlib.util
import os
import sys

_library = None


def load(library):
    """Loads the linker."""
    global _library
    _library = ctypes.CDLL(library)
    _library.macho_open.restype = ctypes.c_void_p
    _library.macho_open.argtypes = [ctypes.c_char_p, ctypes.c_int]
    _library.macho_symbol.restype = ctypes.c_void_p
    _library.macho_symbol.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    _library.macho_binder_calls.restype = ctypes.c_uint64
    _library.macho_binder_calls.argtypes = [ctypes.c_void_p]
    _library.macho_error.restype = ctypes.c_char_p


class Image:
    """An image that was loaded; its functions by their names of C."""

    def __init__(self, path, lazily=True):
        self.path = os.fspath(path)
        # Initializers may call Python.
        open_ = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)(("macho_open", _library))
        self.handle = open_(os.fsencode(self.path), 1 if lazily else 0)
        if not self.handle:
            raise ImportError(_library.macho_error().decode(), path=self.path)

    def address(self, name):
        return _library.macho_symbol(self.handle, name.encode())

    def function(self, name, restype, *argtypes):
        at = self.address(name)
        if not at:
            raise AttributeError(name)
        return ctypes.CFUNCTYPE(restype, *argtypes)(at)

    @property
    def binder_calls(self):
        return _library.macho_binder_calls(self.handle)


IMAGES = []


class Loader(importlib.machinery.ExtensionFileLoader):
    def create_module(self, spec):
        image = Image(self.path)
        IMAGES.append(image)
        name = spec.name.rpartition(".")[2]
        at = image.address("PyInit_" + name)
        if not at:
            raise ImportError("no PyInit_" + name, path=self.path)
        # Modules of one phase take their name from where the import system leaves it.
        init = ctypes.PYFUNCTYPE(ctypes.py_object)(at)
        result = init()
        if type(result).__name__ == "moduledef":
            create = ctypes.pythonapi.PyModule_FromDefAndSpec2
            create.restype = ctypes.py_object
            create.argtypes = [ctypes.py_object, ctypes.py_object, ctypes.c_int]
            module = create(result, spec, 1013)
            self._definition = result
        else:
            module = result
            self._definition = None
            module.__file__ = self.path
        return module

    def exec_module(self, module):
        if self._definition is not None:
            run = ctypes.pythonapi.PyModule_ExecDef
            run.restype = ctypes.c_int
            run.argtypes = [ctypes.py_object, ctypes.py_object]
            run(module, self._definition)


class Finder:
    def __init__(self, folders):
        self.folders = folders

    def find_spec(self, name, path=None, target=None):
        last = name.rpartition(".")[2]
        version = "".join(map(str, sys.version_info[:2]))
        for folder in path if path is not None else self.folders:
            for ending in (".cpython-%s-darwin.so" % version, ".abi3.so"):
                file = os.path.join(folder, last + ending)
                # What lies in folders of wheels only: other packages are for this system.
                if os.path.isfile(file) and any(file.startswith(own) for own in self.folders):
                    loader = Loader(name, file)
                    return importlib.util.spec_from_file_location(name, file, loader=loader)
        return None


def install(library, *folders):
    """Loads the linker, and has `import` look into the folders first."""
    load(library)
    folders = [os.path.abspath(folder) for folder in folders]
    sys.path[:0] = folders
    sys.meta_path.insert(0, Finder(folders))
