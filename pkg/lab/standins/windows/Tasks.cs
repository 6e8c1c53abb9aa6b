// Task Scheduler's COM objects.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace Com
{
    public class Schedule_Service
    {
        public void Connect() { LabModel.Call("tasks"); }
        public TaskFolder GetFolder(string path)
        {
            var f = new TaskFolder(path);
            if (path != "\\" && !f.Any()) throw new COMException("The system cannot find the path specified.", unchecked((int)0x80070003));
            return f;
        }
    }

    public class TaskFolder
    {
        readonly string path, prefix;
        internal TaskFolder(string path) { this.path = path; prefix = path.TrimEnd('\\') + "\\"; }
        public string Path { get { return path; } }
        static List<JsonNode> All() { return LabModel.List(LabModel.Call("tasks")["tasks"]); }
        IEnumerable<JsonNode> Below() { return All().Where(t => LabModel.Text(t["path"]).StartsWith(prefix, StringComparison.OrdinalIgnoreCase)); }
        internal bool Any() { return Below().Any(); }
        string Rest(JsonNode t) { return LabModel.Text(t["path"]).Substring(prefix.Length); }

        public RegisteredTask[] GetTasks(int flags) { return Below().Where(t => !Rest(t).Contains('\\')).Select(t => new RegisteredTask(t)).ToArray(); }
        public TaskFolder[] GetFolders(int flags)
        {
            return Below().Select(Rest).Where(r => r.Contains('\\')).Select(r => r.Substring(0, r.IndexOf('\\')))
                .Distinct(StringComparer.OrdinalIgnoreCase).Select(n => new TaskFolder(prefix + n)).ToArray();
        }
        public RegisteredTask GetTask(string name)
        {
            var t = Below().FirstOrDefault(x => LabModel.Same(Rest(x), name));
            if (t == null) throw new COMException("The system cannot find the file specified.", unchecked((int)0x80070002));
            return new RegisteredTask(t);
        }
        public TaskFolder CreateFolder(string name, object sddl) { return new TaskFolder(prefix + name); }
        public void DeleteFolder(string name, int flags) { }
        public void DeleteTask(string name, int flags) { LabModel.Call("task.delete", "path", prefix + name); }
        public RegisteredTask RegisterTask(string name, string xml, int flags, object user, object password, int logonType, object sddl)
        {
            if (user is System.Management.Automation.PSObject || password is System.Management.Automation.PSObject) throw new InvalidCastException("COM takes no PSObject");
            LabModel.Call("task.register", "path", prefix + name, "xml", xml, "flags", flags, "user", (string)user, "password", (string)password, "logonType", logonType);
            return GetTask(name);
        }
    }

    public class RegisteredTask
    {
        public void Run(object parameters) { LabModel.Call("task.run", "path", Path); }
        public string Name { get; private set; }
        public string Path { get; private set; }
        public string Xml { get; private set; }
        public int State { get; private set; }
        public int LastTaskResult { get; private set; }
        readonly List<JsonNode> instances;
        public RunningTask[] GetInstances(int flags) { return instances.Select(p => new RunningTask { EnginePID = LabModel.Number(p) }).ToArray(); }
        internal RegisteredTask(JsonNode t)
        {
            Path = LabModel.Text(t["path"]);
            Name = Path.Substring(Path.LastIndexOf('\\') + 1);
            Xml = LabModel.Text(t["xml"]);
            State = LabModel.Number(t["state"]);
            LastTaskResult = LabModel.Number(t["lastResult"]);
            instances = LabModel.List(t["instances"]);
        }
    }

    public class RunningTask
    {
        public int EnginePID { get; internal set; }
    }
}
