// Microsoft.Web.Administration: read once, changes in force with the commit. What is read of an element that only
// inherits is what it inherits, as on Windows; writing to it stores a value of its own.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace Microsoft.Web.Administration
{
    public enum ProcessModelIdentityType { LocalSystem, LocalService, NetworkService, SpecificUser, ApplicationPoolIdentity }
    public enum ObjectState { Starting, Started, Stopping, Stopped, Unknown }

    public class WorkerProcess
    {
        public int ProcessId { get; internal set; }
    }

    // What stores a user and a password, or another attribute or two.
    public class ConfigurationElement
    {
        readonly Dictionary<string, object> values = new Dictionary<string, object>();
        internal readonly string Kind, Id;
        internal bool Changed;
        internal ConfigurationElement(string kind, string id, JsonNode stored)
        {
            Kind = kind;
            Id = id;
            values["userName"] = stored == null ? "" : LabModel.Text(stored["userName"]);
            values["password"] = stored == null ? "" : LabModel.Text(stored["password"]);
        }
        internal void Has(string name, object value) { values[name] = value; }
        internal string Password { get { return (string)values["password"]; } }
        public bool IsLocallyStored { get; internal set; }
        public object GetAttributeValue(string name)
        {
            object v;
            if (!values.TryGetValue(name, out v)) throw new COMException("no such attribute", unchecked((int)0x80070585));
            return v;
        }
        public void SetAttributeValue(string name, object value)
        {
            if (value is System.Management.Automation.PSObject) throw new InvalidCastException("IIS takes no PSObject");
            GetAttributeValue(name);
            values[name] = value;
            Changed = true;
        }
    }

    public class ConfigurationSection : ConfigurationElement
    {
        internal ConfigurationSection(string kind, string id, JsonNode stored) : base(kind, id, stored) { }
    }

    public class ApplicationPoolProcessModel : ConfigurationElement
    {
        internal ApplicationPoolProcessModel(string id, JsonNode p) : base("iis_pool", id, p)
        {
            IdentityType = (ProcessModelIdentityType)LabModel.Number(p["identityType"]);
            Has("logonType", LabModel.Text(p["logonType"]) == "LogonService" ? 1 : 0);
        }
        public ProcessModelIdentityType IdentityType { get; private set; }
    }

    public class ApplicationPoolDefaults
    {
        internal ApplicationPoolDefaults(JsonNode p) { ProcessModel = new ApplicationPoolProcessModel("<applicationPoolDefaults>", p); }
        public ApplicationPoolProcessModel ProcessModel { get; private set; }
    }

    public class ApplicationPool : ConfigurationElement
    {
        readonly JsonNode p;
        internal ApplicationPool(JsonNode p) : base("", "", null)
        {
            this.p = p;
            Name = LabModel.Text(p["name"]);
            Has("startMode", LabModel.Flag(p["alwaysRunning"]) ? 1 : 0);
            ProcessModel = new ApplicationPoolProcessModel(Name, p);
        }
        public string Name { get; private set; }
        public ApplicationPoolProcessModel ProcessModel { get; private set; }
        void Alive() { if (LabModel.Text(p["state"]) == "") throw new COMException("The service has not been started.", unchecked((int)0x80070426)); }
        public ObjectState State { get { Alive(); return (ObjectState)Enum.Parse(typeof(ObjectState), LabModel.Text(p["state"])); } }
        public List<WorkerProcess> WorkerProcesses
        {
            get { Alive(); return LabModel.List(p["workers"]).Select(w => new WorkerProcess { ProcessId = LabModel.Number(w) }).ToList(); }
        }
        public ObjectState Recycle() { LabModel.Call("pool.recycle", "name", Name); return ObjectState.Started; }
    }

    public class VirtualDirectory : ConfigurationElement
    {
        internal VirtualDirectory(string id, string path, JsonNode stored) : base("iis_vdir", id, stored) { Path = path; }
        public string Path { get; private set; }
    }

    public class Application
    {
        public string Path { get; internal set; }
        public List<VirtualDirectory> VirtualDirectories { get; internal set; }
        public ConfigurationElement VirtualDirectoryDefaults { get; internal set; }
    }

    public class Site
    {
        public string Name { get; internal set; }
        public List<Application> Applications { get; internal set; }
        public ConfigurationElement VirtualDirectoryDefaults { get; internal set; }
    }

    public class Configuration
    {
        internal Dictionary<string, ConfigurationSection> Sections = new Dictionary<string, ConfigurationSection>(StringComparer.OrdinalIgnoreCase);
        internal Func<string, ConfigurationSection> Missing = l => { throw new COMException("no such section", unchecked((int)0x80070490)); };
        public string[] GetLocationPaths() { return Sections.Keys.ToArray(); }
        public ConfigurationSection GetSection(string path) { return GetSection(path, ""); }
        internal ConfigurationSection Identity = new ConfigurationSection("", "", null);
        public ConfigurationSection GetSection(string path, string location)
        {
            if (path == "system.web/identity") return Identity;
            ConfigurationSection s;
            return Sections.TryGetValue(location, out s) ? s : Missing(location);
        }
    }

    public class ServerManager
    {
        readonly JsonObject iis = LabModel.Call("iis");
        readonly List<ApplicationPool> pools = LabModel.List(LabModel.Call("pools")["pools"]).Select(p => new ApplicationPool(p)).ToList();
        readonly JsonObject places = (LabModel.Call("elsewhere")["places"] ?? new JsonObject()).AsObject();
        readonly List<Site> sites = new List<Site>();
        readonly Configuration host = new Configuration();
        readonly Dictionary<string, ConfigurationSection> web = new Dictionary<string, ConfigurationSection>(StringComparer.OrdinalIgnoreCase);

        public ServerManager()
        {
            ApplicationPoolDefaults = new ApplicationPoolDefaults(iis["poolDefaults"] ?? new JsonObject());
            VirtualDirectoryDefaults = new ConfigurationElement("iis_vdir", "<virtualDirectoryDefaults>", iis["directoryDefaults"]);
            foreach (var d in LabModel.List(iis["directories"])) Directory(d);
            host.Sections[""] = new ConfigurationSection("iis_anon", "<anonymousAuthentication>", null) { IsLocallyStored = true };
            foreach (var a in LabModel.List(iis["anonymous"])) Anonymous(a);
        }
        public ApplicationPoolDefaults ApplicationPoolDefaults { get; private set; }
        public ConfigurationElement VirtualDirectoryDefaults { get; private set; }
        public List<ApplicationPool> ApplicationPools { get { return pools; } }
        public List<Site> Sites { get { return sites; } }

        // The application of a name and path, made when it is new.
        Application At(string site, string app)
        {
            var s = sites.FirstOrDefault(x => LabModel.Same(x.Name, site));
            if (s == null) sites.Add(s = new Site { Name = site, Applications = new List<Application>(), VirtualDirectoryDefaults = new ConfigurationElement("iis_vdir", "", null) });
            var a = s.Applications.FirstOrDefault(x => LabModel.Same(x.Path, app));
            if (a == null) s.Applications.Add(a = new Application { Path = app, VirtualDirectories = new List<VirtualDirectory>(), VirtualDirectoryDefaults = new ConfigurationElement("iis_vdir", "", null) });
            return a;
        }
        void Directory(JsonNode d)
        {
            string site = LabModel.Text(d["site"]), app = LabModel.Text(d["app"]), path = LabModel.Text(d["path"]);
            At(site, app).VirtualDirectories.Add(new VirtualDirectory(site + app.TrimEnd('/') + path, path, d));
        }
        void Anonymous(JsonNode a)
        {
            string location = LabModel.Text(a["location"]);
            if (!LabModel.Flag(a["webConfig"]))
            {
                host.Sections[location] = new ConfigurationSection("iis_anon", location == "" ? "<anonymousAuthentication>" : location, a) { IsLocallyStored = true };
                return;
            }
            int slash = location.IndexOf('/');
            At(slash < 0 ? location : location.Substring(0, slash), slash < 0 ? "/" : location.Substring(slash));
            web[location] = new ConfigurationSection("iis_anon", location + "/web.config", a) { IsLocallyStored = true };
        }
        public Configuration GetApplicationHostConfiguration() { return host; }
        public Configuration GetWebConfiguration(string site, string path)
        {
            var c = new Configuration();
            ConfigurationSection own;
            string location = site + path.TrimEnd('/');
            if (web.TryGetValue(location, out own)) c.Sections[""] = own;
            else c.Missing = l => new ConfigurationSection("", "", null);
            if (LabModel.Text(places[location]) != "")
            {
                c.Identity = new ConfigurationSection("", "", null) { IsLocallyStored = true };
                c.Identity.Has("userName", LabModel.Text(places[location]));
            }
            return c;
        }
        public Configuration GetRedirectionConfiguration()
        {
            var section = new ConfigurationSection("", "", null);
            section.Has("enabled", LabModel.Text(iis["shared"]) != "");
            section.Has("path", LabModel.Text(iis["shared"]));
            section.Has("userName", LabModel.Text(places["redirection"]));
            var c = new Configuration();
            c.Sections[""] = section;
            return c;
        }
        public void CommitChanges()
        {
            var all = pools.Select(p => (ConfigurationElement)p.ProcessModel).Concat(host.Sections.Values).Concat(web.Values)
                .Concat(sites.SelectMany(s => s.Applications).SelectMany(a => a.VirtualDirectories))
                .Concat(new ConfigurationElement[] { ApplicationPoolDefaults.ProcessModel, VirtualDirectoryDefaults });
            var changes = new JsonArray();
            foreach (var e in all.Where(e => e.Changed)) changes.Add(new JsonObject { ["kind"] = e.Kind, ["name"] = e.Id, ["password"] = e.Password });
            LabModel.Call("pools.commit", "changes", changes);
        }
    }
}
