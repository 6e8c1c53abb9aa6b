# What only Win32 offers: logon, passwords, the status of a service with its process in one answer.
$script:WsxNativeSource = @'
using System;
using System.Runtime.InteropServices;
public static class WsxNative {
  [StructLayout(LayoutKind.Sequential)]
  struct UserInfo3 {
    public IntPtr name, password; public int passwordAge, priv; public IntPtr homeDir, comment; public int flags;
    public IntPtr script; public int authFlags; public IntPtr fullName, userComment, parms, workstations;
    public int lastLogon, lastLogoff, acctExpires, maxStorage, unitsPerWeek; public IntPtr logonHours;
    public int badPassword, logons; public IntPtr logonServer; public int country, codePage, userId, groupId;
    public IntPtr profile, homeDrive; public int passwordExpired;
  }
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern bool LogonUserW(string user, string domain, string password, int type, int provider, out IntPtr token);
  [DllImport("kernel32.dll")] static extern bool CloseHandle(IntPtr h);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserChangePassword(string domain, string user, string old, string next);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserSetInfo(string server, string user, int level, IntPtr buffer, out int parm);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserGetInfo(string server, string user, int level, out IntPtr buffer);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetUserModalsGet(string server, int level, out IntPtr buffer);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetGetDCName(string server, string domain, out IntPtr buffer);
  [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
  static extern int NetGetJoinInformation(string server, out IntPtr name, out int status);
  [DllImport("netapi32.dll")] static extern int NetApiBufferFree(IntPtr buffer);
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern bool ConvertStringSidToSidW(string text, out IntPtr sid);
  [DllImport("kernel32.dll")] static extern IntPtr LocalFree(IntPtr p);
  [DllImport("advapi32.dll")] static extern int LsaOpenPolicy(IntPtr system, IntPtr attributes, int access, out IntPtr policy);
  [DllImport("advapi32.dll")] static extern int LsaAddAccountRights(IntPtr policy, IntPtr sid, IntPtr rights, int count);
  [DllImport("advapi32.dll")] static extern int LsaClose(IntPtr policy);
  [DllImport("advapi32.dll")] static extern int LsaNtStatusToWinError(int status);
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern IntPtr OpenSCManagerW(string machine, string database, int access);
  [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
  static extern IntPtr OpenServiceW(IntPtr manager, string name, int access);
  [DllImport("advapi32.dll", SetLastError = true)]
  static extern bool QueryServiceStatusEx(IntPtr service, int level, IntPtr buffer, int size, out int needed);
  [DllImport("advapi32.dll")] static extern bool CloseServiceHandle(IntPtr h);

  // The Windows error of one logon, 0 when it was granted. A UPN goes without a domain.
  public static int Logon(string user, string domain, string password, int type) {
    IntPtr token;
    if (!LogonUserW(user, domain == "" ? null : domain, password, type, 0, out token)) return Marshal.GetLastWin32Error();
    CloseHandle(token);
    return 0;
  }
  public static int Change(string domain, string user, string old, string next) { return NetUserChangePassword(domain, user, old, next); }
  public static int Reset(string user, string next) {
    IntPtr text = Marshal.StringToHGlobalUni(next), info = Marshal.AllocHGlobal(IntPtr.Size);
    try { int parm; Marshal.WriteIntPtr(info, text); return NetUserSetInfo(null, user, 1003, info, out parm); }
    finally { Marshal.ZeroFreeGlobalAllocUnicode(text); Marshal.FreeHGlobal(info); }
  }
  // Clears the lockout of an account; the Windows error, or -1 when it was not locked.
  public static int Unlock(string user) {
    IntPtr buffer;
    int code = NetUserGetInfo(null, user, 3, out buffer);
    if (code != 0) return code;
    int flags = ((UserInfo3)Marshal.PtrToStructure(buffer, typeof(UserInfo3))).flags;
    NetApiBufferFree(buffer);
    if ((flags & 16) == 0) return -1;
    IntPtr info = Marshal.AllocHGlobal(4);
    try { int parm; Marshal.WriteInt32(info, flags & ~16); return NetUserSetInfo(null, user, 1008, info, out parm); }
    finally { Marshal.FreeHGlobal(info); }
  }
  // flags of the account, whether its password must be changed, and wrong passwords counted; or the error, negative.
  public static int[] Account(string user) {
    IntPtr buffer;
    int code = NetUserGetInfo(null, user, 3, out buffer);
    if (code != 0) return new int[] { -code };
    UserInfo3 i = (UserInfo3)Marshal.PtrToStructure(buffer, typeof(UserInfo3));
    NetApiBufferFree(buffer);
    return new int[] { i.flags, i.passwordExpired, i.badPassword };
  }
  // Wrong passwords that lock an account, 0 for none, -1 when that cannot be read. "" asks the local database.
  public static int Threshold(string domain) {
    IntPtr buffer; string server = null;
    if (domain != "") {
      if (NetGetDCName(null, domain, out buffer) != 0) return -1;
      server = Marshal.PtrToStringUni(buffer);
      NetApiBufferFree(buffer);
    }
    if (NetUserModalsGet(server, 3, out buffer) != 0) return -1;
    int n = Marshal.ReadInt32(buffer, 8);
    NetApiBufferFree(buffer);
    return n;
  }
  // NetBIOS name of the domain that the machine is in, or "".
  public static string Domain() {
    IntPtr buffer; int status;
    if (NetGetJoinInformation(null, out buffer, out status) != 0) return "";
    string name = Marshal.PtrToStringUni(buffer);
    NetApiBufferFree(buffer);
    return status == 3 ? name : "";
  }
  // Gives an account a right; the Windows error.
  public static int Grant(string account, string right) {
    IntPtr sid, policy, text = Marshal.StringToHGlobalUni(right);
    IntPtr name = Marshal.AllocHGlobal(2 * IntPtr.Size), attributes = Marshal.AllocHGlobal(6 * IntPtr.Size);
    try {
      if (!ConvertStringSidToSidW(account, out sid)) return Marshal.GetLastWin32Error();
      for (int i = 0; i < 6; i++) Marshal.WriteIntPtr(attributes, i * IntPtr.Size, IntPtr.Zero);
      Marshal.WriteInt32(attributes, 6 * IntPtr.Size);
      Marshal.WriteInt16(name, (short)(2 * right.Length));
      Marshal.WriteInt16(name, 2, (short)(2 * right.Length + 2));
      Marshal.WriteIntPtr(name, IntPtr.Size, text);
      int status = LsaOpenPolicy(IntPtr.Zero, attributes, 0x810, out policy); // create accounts, look up names
      if (status == 0) { status = LsaAddAccountRights(policy, sid, name, 1); LsaClose(policy); }
      LocalFree(sid);
      return status == 0 ? 0 : LsaNtStatusToWinError(status);
    } finally { Marshal.FreeHGlobal(text); Marshal.FreeHGlobal(name); Marshal.FreeHGlobal(attributes); }
  }
  // state, process id, exit code and accepted controls of a service; or the Windows error, negative.
  public static int[] Service(string name) {
    IntPtr manager = OpenSCManagerW(null, null, 1);
    if (manager == IntPtr.Zero) return new int[] { -Marshal.GetLastWin32Error() };
    IntPtr service = OpenServiceW(manager, name, 4);
    if (service == IntPtr.Zero) { int e = Marshal.GetLastWin32Error(); CloseServiceHandle(manager); return new int[] { -e }; }
    IntPtr b = Marshal.AllocHGlobal(36);
    try {
      int needed;
      if (!QueryServiceStatusEx(service, 0, b, 36, out needed)) return new int[] { -Marshal.GetLastWin32Error() };
      return new int[] { Marshal.ReadInt32(b, 4), Marshal.ReadInt32(b, 28), Marshal.ReadInt32(b, 12), Marshal.ReadInt32(b, 8) };
    } finally { Marshal.FreeHGlobal(b); CloseServiceHandle(service); CloseServiceHandle(manager); }
  }
}
'@
# Compiles once a process; the source holds no data.
function Initialize-WsxNative {
    Add-Type -TypeDefinition $script:WsxNativeSource
    Add-Type -AssemblyName System.ServiceProcess
    Add-Type -AssemblyName System.Management
}
