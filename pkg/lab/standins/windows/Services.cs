// The service manager as .NET and WMI show it.
using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Linq;
using System.Text.Json.Nodes;

namespace System.ServiceProcess
{
    public class ServiceController
    {
        readonly string name;
        public ServiceController(string name) { this.name = name; }
        public string ServiceName { get { return name; } }
        public ServiceController[] ServicesDependedOn { get { return Names("dependsOn"); } }
        public ServiceController[] DependentServices { get { return Names("dependents"); } }
        public void Stop() { Control("stop"); }
        public void Start() { Control("start"); }
        public void Pause() { Control("pause"); }
        public void Close() { }

        ServiceController[] Names(string list)
        {
            var s = Guard(() => LabModel.Call("service", "name", name));
            return LabModel.List(s[list]).Select(n => new ServiceController(LabModel.Text(n))).ToArray();
        }
        void Control(string verb) { Guard(() => LabModel.Call("service.control", "name", name, "verb", verb)); }
        T Guard<T>(Func<T> f)
        {
            try { return f(); }
            catch (Win32Exception e) { throw new InvalidOperationException("Cannot control " + name + " service on computer '.'.", e); }
        }
    }
}

namespace System.Diagnostics
{
    public class Process
    {
        readonly int id;
        Process(int id) { this.id = id; }
        public static Process GetProcessById(int id)
        {
            if (LabModel.Ask("process", "pid", id)["error"] != null) throw new ArgumentException("Process with an Id of " + id + " is not running.");
            return new Process(id);
        }
        public void Kill() { LabModel.Call("process.kill", "pid", id); }
        public void Close() { }
    }
}

namespace System.Management
{
    public class InvokeMethodOptions { }

    public class ManagementBaseObject
    {
        protected readonly Dictionary<string, object> values = new Dictionary<string, object>(StringComparer.OrdinalIgnoreCase);
        public object GetPropertyValue(string name)
        {
            object v;
            if (!values.TryGetValue(name, out v)) throw new InvalidOperationException("Not found: " + name);
            return v;
        }
        public void SetPropertyValue(string name, object value)
        {
            if (value is System.Management.Automation.PSObject) throw new InvalidCastException("WMI takes no PSObject");
            values[name] = value;
        }
        internal string TextOf(string name) { object v; return values.TryGetValue(name, out v) ? v as string : null; }
    }

    // DMTF: yyyymmddHHMMSS.mmmmmm+UUU, offset in minutes.
    public class ManagementDateTimeConverter
    {
        public static DateTime ToDateTime(string dmtf)
        {
            return DateTime.ParseExact(dmtf.Substring(0, 14), "yyyyMMddHHmmss", System.Globalization.CultureInfo.InvariantCulture,
                System.Globalization.DateTimeStyles.AssumeUniversal);
        }
    }

    public class ManagementObject : ManagementBaseObject
    {
        readonly string owner;
        internal ManagementObject(JsonNode p, string owner)
        {
            this.owner = owner;
            values["ProcessId"] = (uint)LabModel.Number(p["pid"]);
            values["ParentProcessId"] = (uint)LabModel.Number(p["parent"]);
            values["Name"] = LabModel.Text(p["image"]);
            var started = DateTime.Parse(LabModel.Text(p["started"]), System.Globalization.CultureInfo.InvariantCulture, System.Globalization.DateTimeStyles.AdjustToUniversal);
            values["CreationDate"] = started.ToString("yyyyMMddHHmmss", System.Globalization.CultureInfo.InvariantCulture) + ".000000+000";
        }
        internal ManagementObject(JsonNode s)
        {
            values["Name"] = LabModel.Text(s["name"]);
            values["StartName"] = LabModel.Text(s["startName"]);
            values["State"] = Lab.Cim.State(LabModel.Text(s["state"]));
            values["StartMode"] = LabModel.Text(s["startMode"]);
            values["ProcessId"] = (uint)LabModel.Number(s["pid"]);
        }
        public ManagementBaseObject GetMethodParameters(string method)
        {
            if (method != "Change") throw new InvalidOperationException("no stand-in for " + method);
            return new ManagementBaseObject();
        }
        public ManagementBaseObject InvokeMethod(string method, ManagementBaseObject parameters, InvokeMethodOptions options)
        {
            var result = new ManagementBaseObject();
            if (method == "GetOwnerSid" && owner != null)
            {
                result.SetPropertyValue("Sid", owner);
                return result;
            }
            int code = LabModel.Code("service.change", "name", TextOf("Name"), "startName", parameters.TextOf("StartName"), "password", parameters.TextOf("StartPassword"));
            result.SetPropertyValue("ReturnValue", (uint)code);
            return result;
        }
    }

    public class ManagementClass
    {
        readonly bool processes;
        public ManagementClass(string path)
        {
            processes = path == "Win32_Process";
            if (path != "Win32_Service" && !processes) throw new InvalidOperationException("no stand-in for " + path);
        }
        public ManagementObject[] GetInstances()
        {
            if (processes) return LabModel.List(LabModel.Call("processes")["processes"]).Select(p => new ManagementObject(p, LabModel.Text(p["ownerSid"]))).ToArray();
            return LabModel.List(LabModel.Call("services")["services"]).Select(s => new ManagementObject(s)).ToArray();
        }
    }
}

namespace Lab
{
    // What Get-CimInstance in Cim.ps1 is made of.
    public class CimService
    {
        public string Name, DisplayName, StartName, State, StartMode, ServiceType;
        public uint ProcessId;
        public bool AcceptStop, AcceptPause;
    }
    public class EventProperty { public object Value; }
    public class Event
    {
        public int Id;
        public DateTime TimeCreated;
        public string Message;
        public EventProperty[] Properties;
    }
    public class CimProcess
    {
        public uint ProcessId;
        public DateTime CreationDate;
    }
    public static class Cim
    {
        public static string State(string s) { return s.EndsWith("Pending") ? s.Replace("Pending", " Pending") : s; }
        public static CimService[] Services()
        {
            return LabModel.List(LabModel.Call("services")["services"]).Select(s => new CimService {
                Name = LabModel.Text(s["name"]), DisplayName = LabModel.Text(s["display"]), StartName = LabModel.Text(s["startName"]),
                State = State(LabModel.Text(s["state"])), StartMode = LabModel.Text(s["startMode"]), ProcessId = (uint)LabModel.Number(s["pid"]),
                ServiceType = (LabModel.Number(s["type"]) & 16) != 0 ? "Own Process" : "Share Process",
                AcceptStop = LabModel.Flag(s["canStop"]), AcceptPause = LabModel.Flag(s["canPause"]),
            }).ToArray();
        }
        // The activation service's events about pools, newest first.
        public static Event[] PoolEvents()
        {
            return LabModel.List(LabModel.Call("pool.failures")["events"]).AsEnumerable().Reverse().Select(e => new Event {
                Id = LabModel.Number(e["id"]), Message = "Application pool " + LabModel.Text(e["name"]) + " has been disabled.",
                Properties = new[] { new EventProperty { Value = LabModel.Text(e["name"]) } },
            }).ToArray();
        }
        public static string[] Clustered()
        {
            return LabModel.List(LabModel.Call("services")["services"]).Where(s => LabModel.Flag(s["clustered"])).Select(s => LabModel.Text(s["name"])).ToArray();
        }
        public static CimProcess[] Process(int pid)
        {
            var p = LabModel.Ask("process", "pid", pid);
            if (p["error"] != null) return new CimProcess[0];
            var started = DateTime.Parse(LabModel.Text(p["started"]), System.Globalization.CultureInfo.InvariantCulture, System.Globalization.DateTimeStyles.AdjustToUniversal);
            return new[] { new CimProcess { ProcessId = (uint)pid, CreationDate = started.ToLocalTime() } };
        }
    }
}
