// Names and SIDs, who we are, and one run at a time.
using System;
using System.Text.Json.Nodes;

namespace System.Security.Principal
{
    public class IdentityNotMappedException : Exception
    {
        public IdentityNotMappedException() : base("Some or all identity references could not be translated.") { }
    }

    public class SecurityIdentifier
    {
        readonly string value;
        public SecurityIdentifier(string value) { this.value = value; }
        public string Value { get { return value; } }
        public override string ToString() { return value; }
        public NTAccount Translate(Type type)
        {
            var a = LabModel.Ask("account", "sid", value);
            if (a["error"] != null) throw new IdentityNotMappedException();
            return new NTAccount(LabModel.Text(a["domain"]) + "\\" + LabModel.Text(a["sam"]));
        }
    }

    public class NTAccount
    {
        readonly string name;
        public NTAccount(string name) { this.name = name; }
        public string Value { get { return name; } }
        public override string ToString() { return name; }
        public SecurityIdentifier Translate(Type type)
        {
            var a = LabModel.Ask("translate", "name", name);
            if (a["error"] != null) throw new IdentityNotMappedException();
            return new SecurityIdentifier(LabModel.Text(a["sid"]));
        }
    }

    public class WindowsIdentity
    {
        public string Name { get; private set; }
        public SecurityIdentifier User { get; private set; }
        public static WindowsIdentity GetCurrent()
        {
            var m = LabModel.Machine();
            return new WindowsIdentity { Name = LabModel.Text(m["user"]), User = new SecurityIdentifier(LabModel.Text(m["userSid"])) };
        }
    }

    public class WindowsPrincipal
    {
        public WindowsPrincipal(WindowsIdentity identity) { }
        public bool IsInRole(SecurityIdentifier sid) { return sid.Value == "S-1-5-32-544" && LabModel.Flag(LabModel.Machine()["elevated"]); }
    }
}

namespace System.Threading
{
    // A machine's own: two machines of one lab share no names.
    public class Mutex
    {
        readonly bool got;
        public Mutex(bool owned, string name)
        {
            const string global = "Global\\";
            got = LabModel.Flag(LabModel.Call("lock", "name", name.StartsWith(global) ? name.Substring(global.Length) : name)["ok"]);
        }
        public bool WaitOne(int milliseconds) { return got; }
    }
}

namespace Microsoft.Win32
{
    public static class Registry
    {
        public static RegistryKey LocalMachine { get { return RegistryKey.Machine(); } }
        const string services = @"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\";

        public static object GetValue(string key, string name, object missing)
        {
            if (key.StartsWith(services, StringComparison.OrdinalIgnoreCase)) return Service(key.Substring(services.Length), name, missing);
            switch (name)
            {
                case "AutoAdminLogon": return Place("autologon") != "" ? "1" : missing;
                case "DefaultUserName": return Place("autologon");
                case "Enabled": return key.EndsWith("CentralCertProvider") && Place("central_certificates") != "" ? 1 : missing;
                case "UserName": return Place("central_certificates");
            }
            var m = LabModel.Machine();
            string[] os = LabModel.Text(m["os"]).Split('.');
            switch (name)
            {
                case "ComputerName": return LabModel.Text(m["name"]);
                case "ProductType": return LabModel.Flag(m["dc"]) ? "LanmanNT" : "ServerNT";
                case "ClusterName": return Lab.Cim.Clustered().Length > 0 ? "CLUSTER1" : missing;
                case "MachineGuid": return LabModel.Text(m["guid"]);
                case "MajorVersion": return LabModel.Flag(m["iis"]) ? 10 : missing;
                case "DisableDomainCreds": return LabModel.Flag(m["storageDisabled"]) ? 1 : 0;
                case "CurrentMajorVersionNumber": return os.Length == 3 ? int.Parse(os[0]) : missing;
                case "CurrentMinorVersionNumber": return os.Length == 3 ? int.Parse(os[1]) : missing;
                case "CurrentBuildNumber": return os.Length == 3 ? os[2] : missing;
                default: return missing;
            }
        }

        static string Place(string place) { return LabModel.Text(LabModel.Call("elsewhere")["places"][place]); }

        static object Service(string service, string name, object missing)
        {
            var s = LabModel.Ask("service", "name", service);
            if (s["error"] != null) return null;
            switch (name)
            {
                case "ServiceAccountManaged": return LabModel.Flag(s["managed"]) ? new byte[] { 1, 0, 0, 0 } : missing;
                case "Type": return LabModel.Number(s["type"]);
                case "Start":
                    switch (LabModel.Text(s["startMode"])) { case "Auto": return 2; case "Disabled": return 4; default: return 3; }
                default: return missing;
            }
        }
    }
}
