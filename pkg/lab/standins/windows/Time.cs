// The machine's time: what scripts wait for passes in the model, which may live faster than we do.
namespace System.Diagnostics
{
    public class Stopwatch
    {
        readonly long began = Now();
        static long Now() { return LabModel.Call("clock")["ms"].GetValue<long>(); }
        public static Stopwatch StartNew() { return new Stopwatch(); }
        public long ElapsedMilliseconds { get { return Now() - began; } }
    }
}

namespace System.Threading
{
    public static class Thread
    {
        public static void Sleep(int milliseconds) { LabModel.Call("sleep", "ms", milliseconds); }
    }
}
