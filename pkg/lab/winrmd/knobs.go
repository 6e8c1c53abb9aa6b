package winrmd

import (
	"maps"
	"sync"
	"time"
)

// A Phase is a kind of request.
type Phase string

// The phases of a WinRS exchange.
const (
	PhaseCreate  Phase = "create"
	PhaseCommand Phase = "command"
	PhaseSend    Phase = "send"
	PhaseReceive Phase = "receive"
	PhaseSignal  Phase = "signal"
	PhaseDelete  Phase = "delete"
)

// A Point is the moment at which a fault strikes.
type Point struct {
	Phase Phase // "": never
	// N is the number of the request in its phase, from 1, counted since
	// SetFaults; 0 is every request.
	N int
	// Early strikes before the request is acted on; otherwise the request takes
	// effect and only its answer is lost.
	Early bool
}

// Faults are what goes wrong on purpose. The zero value is a healthy service.
type Faults struct {
	Unauthorized bool          // 401 to everything, right passwords included, without asking the host
	Latency      time.Duration // added to each request
	Drop         Point         // the connection is cut instead of an answer
	Fail         Point         // HTTP 500 with the fault FailWith instead of an answer
	FailWith     FaultCode     // "" is FaultInternal
	// LoseChunk is the number of the Send, from 1, that is acknowledged and
	// then forgotten; 0 is none.
	LoseChunk int
}

// Counts are the requests seen since the start, by phase, and the log-ins.
type Counts struct {
	Phases         map[Phase]int
	Connections    int // of TCP
	LogIns         int // accepted
	LogInsRefused  int // wrong password, unknown, locked, or not allowed
	Unauthorized   int // answers 401, those that merely ask for a log-in included
	LargestRequest int // bytes
}

// knobs hold faults and counters.
type knobs struct {
	mu     sync.Mutex
	faults Faults
	since  map[Phase]int // since SetFaults
	counts Counts
}

// SetFaults replaces the faults and starts their counting anew.
func (s *Server) SetFaults(f Faults) {
	s.knobs.mu.Lock()
	defer s.knobs.mu.Unlock()
	s.knobs.faults = f
	s.knobs.since = nil
}

// Faults returns the faults in force.
func (s *Server) Faults() Faults {
	s.knobs.mu.Lock()
	defer s.knobs.mu.Unlock()
	return s.knobs.faults
}

// Counts returns a copy of the counters.
func (s *Server) Counts() Counts {
	s.knobs.mu.Lock()
	defer s.knobs.mu.Unlock()
	c := s.knobs.counts
	c.Phases = maps.Clone(c.Phases)
	return c
}

// count applies change to the counters.
func (k *knobs) count(change func(*Counts)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.counts)
}

// An accident is what shall happen to one request.
type accident struct {
	drop, fail, early, lose bool
	with                    FaultCode
}

// next counts a request of phase p and returns what shall happen to it.
func (k *knobs) next(p Phase) accident {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts.Phases == nil {
		k.counts.Phases = map[Phase]int{}
	}
	if k.since == nil {
		k.since = map[Phase]int{}
	}
	k.counts.Phases[p]++
	k.since[p]++
	n := k.since[p]
	f := k.faults
	if f.Drop.strikes(p, n) {
		return accident{drop: true, early: f.Drop.Early}
	}
	if f.Fail.strikes(p, n) {
		return accident{fail: true, early: f.Fail.Early, with: f.FailWith}
	}
	return accident{lose: p == PhaseSend && f.LoseChunk == n}
}

func (p Point) strikes(phase Phase, n int) bool {
	return p.Phase != "" && p.Phase == phase && (p.N == 0 || p.N == n)
}
