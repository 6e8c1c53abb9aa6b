// The catalog of COM+ applications, and the registry's list of DCOM servers.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.Json.Nodes;

namespace Com
{
    public class COMAdmin_COMAdminCatalog
    {
        public ComApplications GetCollection(string name)
        {
            if (name != "Applications") throw new InvalidOperationException("no stand-in for " + name);
            return new ComApplications();
        }
    }

    public class ComApplications
    {
        List<ComApplication> all = new List<ComApplication>();
        public void Populate()
        {
            all = LabModel.List(LabModel.Call("applications")["applications"]).Where(a => !LabModel.Flag(a["dcom"]))
                .Select(a => new ComApplication(a)).ToList();
        }
        public int Count { get { return all.Count; } }
        public ComApplication Item(int index) { return all[index]; }
    }

    public class ComApplication
    {
        readonly JsonNode a;
        internal ComApplication(JsonNode a) { this.a = a; }
        public string Name { get { return LabModel.Text(a["name"]); } }
        public string Key { get { return LabModel.Text(a["id"]); } }
        public object Value(string property)
        {
            if (property != "Identity") throw new InvalidOperationException("no stand-in for " + property);
            return LabModel.Text(a["runAs"]);
        }
    }
}

namespace Microsoft.Win32
{
    public class RegistryKey
    {
        readonly Dictionary<string, RegistryKey> keys = new Dictionary<string, RegistryKey>(StringComparer.OrdinalIgnoreCase);
        readonly Dictionary<string, object> values = new Dictionary<string, object>(StringComparer.OrdinalIgnoreCase);

        // HKEY_LOCAL_MACHINE, as far as lists of keys are read from it.
        internal static RegistryKey Machine()
        {
            var servers = new RegistryKey();
            foreach (var a in LabModel.List(LabModel.Call("applications")["applications"]).Where(a => LabModel.Flag(a["dcom"])))
            {
                var k = new RegistryKey();
                k.values[""] = LabModel.Text(a["name"]);
                k.values["RunAs"] = LabModel.Text(a["runAs"]);
                servers.keys[LabModel.Text(a["id"])] = k;
            }
            var root = new RegistryKey();
            root.keys[@"SOFTWARE\Classes\AppID"] = servers;
            return root;
        }
        public RegistryKey OpenSubKey(string name) { RegistryKey k; return keys.TryGetValue(name, out k) ? k : null; }
        public string[] GetSubKeyNames() { return keys.Keys.ToArray(); }
        public object GetValue(string name) { object v; return values.TryGetValue(name, out v) ? v : null; }
        public void Close() { }
    }
}
