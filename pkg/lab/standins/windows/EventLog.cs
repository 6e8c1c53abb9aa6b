// Event logs: what a test put into the model, filtered by the number of the event.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.RegularExpressions;

namespace System.Diagnostics.Eventing.Reader
{
    public enum PathType { LogName = 1, FilePath = 2 }

    public class EventLogQuery
    {
        internal readonly string Path, Query;
        public EventLogQuery(string path, PathType type, string query) { Path = path; Query = query; }
    }

    public class EventRecord
    {
        readonly string xml;
        internal EventRecord(string xml) { this.xml = xml; }
        public string ToXml() { return xml; }
    }

    public class EventLogReader
    {
        readonly Queue<EventRecord> events;
        public EventLogReader(EventLogQuery q)
        {
            var wanted = Regex.Match(q.Query, @"EventID=(\d+)");
            var all = LabModel.List(LabModel.Call("log", "name", q.Path)["events"]).Select(e => LabModel.Text(e));
            events = new Queue<EventRecord>(all.Where(x => !wanted.Success || x.Contains("<EventID>" + wanted.Groups[1].Value + "</EventID>")).Select(x => new EventRecord(x)));
        }
        public EventRecord ReadEvent() { return events.Count == 0 ? null : events.Dequeue(); }
    }
}
