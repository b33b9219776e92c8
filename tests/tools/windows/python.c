/* python.exe: load the interpreter's DLL beside this file and give it the command line. */
#include <windows.h>
#include <stdio.h>

int wmain(int argc, wchar_t **argv)
{
    HMODULE python = LoadLibraryW(PYTHON_DLL);
    int (*py_main)(int, wchar_t **);

    if (python == NULL) {
        fwprintf(stderr, L"cannot load %ls (error %lu)\n", PYTHON_DLL, GetLastError());
        return 126;
    }
    py_main = (int (*)(int, wchar_t **))(void *)GetProcAddress(python, "Py_Main");
    return py_main(argc, argv);
}
