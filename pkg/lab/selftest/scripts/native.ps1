# What making and removing throw-away objects needs of Win32. Only objects whose names begin with keyturn-selftest- are touched.
$script:SelfNativeSource = @'
using System;
using System.Runtime.InteropServices;
public static class SelfNative {
  [StructLayout(LayoutKind.Sequential)]
  struct UserInfo1 {
    public IntPtr name, word; public int age, priv; public IntPtr home, comment; public int flags; public IntPtr script;
  }
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserAdd(string server, int level, IntPtr buffer, out int parm);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserDel(string server, string user);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserGetInfo(string server, string user, int level, out IntPtr buffer);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserSetInfo(string server, string user, int level, IntPtr buffer, out int parm);
  [DllImport("netapi32.dll")] static extern int NetApiBufferFree(IntPtr buffer);
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern bool ConvertStringSidToSidW(string text, out IntPtr sid);
  [DllImport("kernel32.dll")] static extern IntPtr LocalFree(IntPtr p);
  [DllImport("advapi32.dll")] static extern int LsaOpenPolicy(IntPtr system, IntPtr attributes, int access, out IntPtr policy);
  [DllImport("advapi32.dll")] static extern int LsaAddAccountRights(IntPtr policy, IntPtr sid, IntPtr rights, int count);
  [DllImport("advapi32.dll")] static extern int LsaRemoveAccountRights(IntPtr policy, IntPtr sid, byte all, IntPtr rights, int count);
  [DllImport("advapi32.dll")] static extern int LsaClose(IntPtr policy);
  [DllImport("advapi32.dll")] static extern int LsaNtStatusToWinError(int status);
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern IntPtr OpenSCManagerW(string machine, string database, int access);
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern IntPtr OpenServiceW(IntPtr manager, string name, int access);
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern IntPtr CreateServiceW(IntPtr manager, string name, string display, int access, int type, int start, int error,
    string path, string group, IntPtr tag, string needs, string user, string password);
  [DllImport("advapi32.dll", SetLastError = true)] static extern bool DeleteService(IntPtr service);
  [DllImport("advapi32.dll")] static extern bool CloseServiceHandle(IntPtr h);

  // A local user who may do nothing yet: the Windows error, 0 when it was made.
  public static int AddUser(string user, string password) {
    UserInfo1 i = new UserInfo1();
    i.name = Marshal.StringToHGlobalUni(user); i.word = Marshal.StringToHGlobalUni(password);
    i.comment = Marshal.StringToHGlobalUni("Made by keyturn-lab selftest; may be deleted");
    i.priv = 1; i.flags = 0x201;
    IntPtr b = Marshal.AllocHGlobal(Marshal.SizeOf(typeof(UserInfo1)));
    try { int parm; Marshal.StructureToPtr(i, b, false); return NetUserAdd(null, 1, b, out parm); }
    finally {
      Marshal.ZeroFreeGlobalAllocUnicode(i.word); Marshal.FreeHGlobal(i.name); Marshal.FreeHGlobal(i.comment); Marshal.FreeHGlobal(b);
    }
  }
  public static int RemoveUser(string user) { return NetUserDel(null, user); }
  // Wrong passwords counted since the last right one; or the error, negative.
  public static int Bad(string user) {
    IntPtr b;
    int code = NetUserGetInfo(null, user, 3, out b);
    if (code != 0) return -code;
    int n = Marshal.ReadInt32(b, 128);
    NetApiBufferFree(b);
    return n;
  }
  // Whether the password must be changed at the next logon.
  public static int MustChange(string user, bool on) {
    IntPtr b;
    int code = NetUserGetInfo(null, user, 3, out b);
    if (code != 0) return code;
    try { int parm; Marshal.WriteInt32(b, 176, on ? 1 : 0); return NetUserSetInfo(null, user, 3, b, out parm); }
    finally { NetApiBufferFree(b); }
  }
  // Gives an account a logon right, or takes it away.
  public static int Right(string sid, string right, bool give) {
    IntPtr who, policy, attributes = Marshal.AllocHGlobal(64), text = Marshal.StringToHGlobalUni(right), list = Marshal.AllocHGlobal(16);
    if (!ConvertStringSidToSidW(sid, out who)) return Marshal.GetLastWin32Error();
    try {
      for (int i = 0; i < 64; i += 4) Marshal.WriteInt32(attributes, i, 0);
      Marshal.WriteInt32(attributes, 0, 6 * IntPtr.Size);
      Marshal.WriteInt64(list, 0, 0);
      Marshal.WriteInt16(list, 0, (short)(2 * right.Length)); Marshal.WriteInt16(list, 2, (short)(2 * right.Length + 2));
      Marshal.WriteIntPtr(list, 8, text);
      int status = LsaOpenPolicy(IntPtr.Zero, attributes, 0x811, out policy);
      if (status != 0) return LsaNtStatusToWinError(status);
      status = give ? LsaAddAccountRights(policy, who, list, 1) : LsaRemoveAccountRights(policy, who, 1, IntPtr.Zero, 0);
      LsaClose(policy);
      return status == 0 ? 0 : LsaNtStatusToWinError(status);
    } finally { LocalFree(who); Marshal.FreeHGlobal(attributes); Marshal.FreeHGlobal(text); Marshal.FreeHGlobal(list); }
  }
  // A service of its own process, started by hand.
  public static int AddService(string name, string path, string user, string password) {
    IntPtr m = OpenSCManagerW(null, null, 2);
    if (m == IntPtr.Zero) return Marshal.GetLastWin32Error();
    IntPtr s = CreateServiceW(m, name, name, 0xF01FF, 16, 3, 1, path, null, IntPtr.Zero, null, user, password);
    int code = s == IntPtr.Zero ? Marshal.GetLastWin32Error() : 0;
    if (s != IntPtr.Zero) CloseServiceHandle(s);
    CloseServiceHandle(m);
    return code;
  }
  public static int RemoveService(string name) {
    IntPtr m = OpenSCManagerW(null, null, 1);
    if (m == IntPtr.Zero) return Marshal.GetLastWin32Error();
    IntPtr s = OpenServiceW(m, name, 0x10000);
    int code = s == IntPtr.Zero || !DeleteService(s) ? Marshal.GetLastWin32Error() : 0;
    if (s != IntPtr.Zero) CloseServiceHandle(s);
    CloseServiceHandle(m);
    return code;
  }
}
'@
# The program of the throw-away service: it starts, and stops when asked.
$script:SelfServiceSource = @'
using System.ServiceProcess;
public class SelfService : ServiceBase {
  protected override void OnStart(string[] args) { }
  public static void Main() { ServiceBase.Run(new SelfService()); }
}
'@
