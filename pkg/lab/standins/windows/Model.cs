// The connection to the lab's model of one machine: see pkg/lab/model/protocol.md.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;

public static class LabModel
{
    static readonly object gate = new object();
    static StreamReader reader;
    static Stream stream;

    static void Open()
    {
        if (stream != null) return;
        string path = System.Environment.GetEnvironmentVariable("KEYTURN_LAB_MODEL");
        if (string.IsNullOrEmpty(path)) throw new InvalidOperationException("KEYTURN_LAB_MODEL names no socket");
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        stream = new NetworkStream(socket, true);
        reader = new StreamReader(stream);
    }

    // One request and its answer, errors and all. A model that hangs up is a machine that lost its power.
    public static JsonObject Ask(string call, params object[] pairs)
    {
        var request = new JsonObject { ["call"] = call };
        for (int i = 0; i < pairs.Length; i += 2) request[(string)pairs[i]] = pairs[i + 1] as JsonNode ?? JsonValue.Create(pairs[i + 1]);
        lock (gate)
        {
            Open();
            string line = null;
            try
            {
                byte[] bytes = JsonSerializer.SerializeToUtf8Bytes(request);
                stream.Write(bytes, 0, bytes.Length);
                stream.WriteByte((byte)'\n');
                stream.Flush();
                line = reader.ReadLine();
            }
            catch (IOException) { }
            if (line == null) System.Environment.Exit(137);
            var answer = JsonNode.Parse(line).AsObject();
            if (answer["fault"] != null) throw new InvalidOperationException("model: " + (string)answer["fault"]);
            return answer;
        }
    }

    // The same; what Windows reports as a failure is thrown as Windows' type for it.
    public static JsonObject Call(string call, params object[] pairs)
    {
        var answer = Ask(call, pairs);
        if (answer["error"] != null) throw new System.ComponentModel.Win32Exception(Number(answer["error"]), "Windows error " + Number(answer["error"]));
        if (answer["hresult"] != null) throw new COMException("HRESULT 0x" + Number(answer["hresult"]).ToString("X8"), Number(answer["hresult"]));
        return answer;
    }

    public static int Code(string call, params object[] pairs)
    {
        var answer = Ask(call, pairs);
        return Number(answer["error"] ?? answer["hresult"] ?? answer["code"]);
    }

    public static string Text(JsonNode n) { return n == null ? "" : n.GetValue<string>(); }
    public static bool Flag(JsonNode n) { return n != null && n.GetValue<bool>(); }
    public static int Number(JsonNode n) { return n == null ? 0 : unchecked((int)n.GetValue<long>()); }
    public static List<JsonNode> List(JsonNode n)
    {
        var all = new List<JsonNode>();
        if (n != null) foreach (var e in n.AsArray()) all.Add(e);
        return all;
    }
    public static JsonObject Machine() { return Call("machine"); }
    public static bool Same(string a, string b) { return string.Equals(a, b, StringComparison.OrdinalIgnoreCase); }
}
