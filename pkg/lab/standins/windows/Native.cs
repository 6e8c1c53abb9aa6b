// What the scripts import from Windows' libraries; buffers have Windows' layout on 64 bits.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

public static partial class Native
{
    static readonly List<string> handles = new List<string>();
    static readonly string[] states = { "", "Stopped", "StartPending", "StopPending", "Running", "ContinuePending", "PausePending", "Paused" };

    static bool Fail(int code) { Marshal.SetLastPInvokeError(code); return code == 0; }
    static IntPtr Buffer() { IntPtr b = Marshal.AllocHGlobal(256); Marshal.Copy(new byte[256], 0, b, 256); return b; }

    public static bool LogonUserW(string user, string domain, string password, int type, int provider, out IntPtr token)
    {
        token = new IntPtr(1);
        return Fail(LabModel.Code("logon", "user", user, "domain", domain ?? "", "password", password, "type", type));
    }
    public static bool CloseHandle(IntPtr h) { return true; }
    public static int NetUserChangePassword(string domain, string user, string old, string next)
    {
        return LabModel.Code("password.change", "user", user, "old", old, "new", next);
    }
    public static int NetUserSetInfo(string server, string user, int level, IntPtr buffer, out int parm)
    {
        parm = 0;
        if (level == 3) return LabModel.Code("user.mustchange", "user", user, "flags", Marshal.ReadInt32(buffer, 176));
        if (level == 1008) return (Marshal.ReadInt32(buffer) & 16) != 0 ? 0 : LabModel.Code("account.unlock", "user", user);
        if (level != 1003) return 124;
        return LabModel.Code("password.reset", "user", user, "new", Marshal.PtrToStringUni(Marshal.ReadIntPtr(buffer)));
    }
    public static int NetUserGetInfo(string server, string user, int level, out IntPtr buffer)
    {
        buffer = IntPtr.Zero;
        var m = LabModel.Machine();
        string machine = LabModel.Flag(m["dc"]) ? LabModel.Text(m["domain"]) : LabModel.Text(m["name"]);
        var named = LabModel.Ask("translate", "name", machine + "\\" + user);
        if (named["error"] != null) return 2221;
        var a = LabModel.Ask("account", "sid", LabModel.Text(named["sid"]));
        if (a["error"] != null) return 2221;
        buffer = Buffer();
        Marshal.WriteInt32(buffer, 40, 0x200 | (LabModel.Flag(a["disabled"]) ? 2 : 0) | (LabModel.Flag(a["locked"]) ? 16 : 0));
        Marshal.WriteInt32(buffer, 128, LabModel.Number(a["badPwdCount"]));
        Marshal.WriteInt32(buffer, 176, LabModel.Flag(a["mustChange"]) ? 1 : 0);
        return 0;
    }
    public static int NetUserModalsGet(string server, int level, out IntPtr buffer)
    {
        buffer = Buffer();
        var m = LabModel.Machine();
        Marshal.WriteInt32(buffer, 8, LabModel.Number(server == null && m["localThreshold"] != null ? m["localThreshold"] : m["lockoutThreshold"]));
        return 0;
    }
    public static int NetGetDCName(string server, string domain, out IntPtr buffer)
    {
        buffer = Marshal.StringToHGlobalUni("\\\\DC");
        return 0;
    }
    public static int NetGetJoinInformation(string server, out IntPtr name, out int status)
    {
        string domain = LabModel.Text(LabModel.Machine()["domain"]);
        status = domain == "" ? 2 : 3;
        name = Marshal.StringToHGlobalUni(domain == "" ? "WORKGROUP" : domain);
        return 0;
    }
    public static int NetApiBufferFree(IntPtr buffer) { Marshal.FreeHGlobal(buffer); return 0; }

    // A SID is its own text here, and a policy needs no handle.
    public static bool ConvertStringSidToSidW(string text, out IntPtr sid) { sid = Marshal.StringToHGlobalUni(text); return true; }
    public static IntPtr LocalFree(IntPtr p) { Marshal.FreeHGlobal(p); return IntPtr.Zero; }
    public static int LsaOpenPolicy(IntPtr system, IntPtr attributes, int access, out IntPtr policy)
    {
        policy = new IntPtr(1);
        return Marshal.ReadInt32(attributes) == 48 ? 0 : 87;
    }
    public static int LsaAddAccountRights(IntPtr policy, IntPtr sid, IntPtr rights, int count)
    {
        if (count != 1 || Marshal.ReadInt16(rights, 2) != Marshal.ReadInt16(rights) + 2) return 87;
        string name = Marshal.PtrToStringUni(Marshal.ReadIntPtr(rights, IntPtr.Size), Marshal.ReadInt16(rights) / 2);
        return LabModel.Code("right.add", "sid", Marshal.PtrToStringUni(sid), "name", name);
    }
    public static int LsaClose(IntPtr policy) { return 0; }
    public static int LsaNtStatusToWinError(int status) { return status; }

    public static IntPtr OpenSCManagerW(string machine, string database, int access) { return new IntPtr(1); }
    public static IntPtr OpenServiceW(IntPtr manager, string name, int access)
    {
        int code = LabModel.Number(LabModel.Ask("service", "name", name)["error"]);
        if (code != 0) { Fail(code); return IntPtr.Zero; }
        handles.Add(name);
        return new IntPtr(handles.Count + 1);
    }
    public static bool QueryServiceStatusEx(IntPtr service, int level, IntPtr buffer, int size, out int needed)
    {
        needed = 36;
        var s = LabModel.Ask("service", "name", handles[(int)service - 2]);
        if (s["error"] != null) return Fail(LabModel.Number(s["error"]));
        for (int i = 0; i < 36; i += 4) Marshal.WriteInt32(buffer, i, 0);
        Marshal.WriteInt32(buffer, 4, Array.IndexOf(states, LabModel.Text(s["state"])));
        Marshal.WriteInt32(buffer, 8, (LabModel.Flag(s["canStop"]) ? 1 : 0) | (LabModel.Flag(s["canPause"]) ? 2 : 0));
        Marshal.WriteInt32(buffer, 12, LabModel.Number(s["exit"]));
        Marshal.WriteInt32(buffer, 28, LabModel.Number(s["pid"]));
        return true;
    }
    public static bool CloseServiceHandle(IntPtr h) { return true; }
}
