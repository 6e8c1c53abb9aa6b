// What makes and removes users, rights and services; see pkg/lab/selftest.
using System;
using System.Runtime.InteropServices;

public static partial class Native
{
    public static int NetUserAdd(string server, int level, IntPtr buffer, out int parm)
    {
        parm = 0;
        if (level != 1) return 124;
        return LabModel.Code("user.add", "user", Text(buffer, 0), "password", Text(buffer, 8));
    }
    static string Text(IntPtr buffer, int at) { return Marshal.PtrToStringUni(Marshal.ReadIntPtr(buffer, at)); }
    public static int NetUserDel(string server, string user) { return LabModel.Code("user.delete", "user", user); }

    public static int LsaRemoveAccountRights(IntPtr policy, IntPtr sid, byte all, IntPtr rights, int count) { return 0; }

    public static IntPtr CreateServiceW(IntPtr manager, string name, string display, int access, int type, int start, int error,
        string path, string group, IntPtr tag, string needs, string user, string password)
    {
        int code = LabModel.Code("service.add", "name", name, "startName", user, "password", password);
        if (code != 0) { Fail(code); return IntPtr.Zero; }
        handles.Add(name);
        return new IntPtr(handles.Count + 1);
    }
    public static bool DeleteService(IntPtr service)
    {
        return Fail(LabModel.Code("service.delete", "name", handles[(int)service - 2]));
    }
}
