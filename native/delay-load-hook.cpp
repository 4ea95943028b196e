// Windows only. The addon imports Node's functions from "node.exe"; the program in which it runs may have any name
// (electron.exe, an app of one file), so the first such call is led to whatever program this is.
#include <windows.h>
#include <delayimp.h>
#include <string.h>

static FARPROC WINAPI lead_to_host(unsigned event, PDelayLoadInfo info) {
    if (event != dliNotePreLoadLibrary || _stricmp(info->szDll, "node.exe") != 0) return nullptr;
    return reinterpret_cast<FARPROC>(GetModuleHandleW(nullptr));
}

extern "C" {
#ifdef __MINGW32__ // whose delayimp.h declares it without const
PfnDliHook __pfnDliNotifyHook2 = lead_to_host;
#else
const PfnDliHook __pfnDliNotifyHook2 = lead_to_host;
#endif
}
