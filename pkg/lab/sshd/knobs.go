package sshd

import (
	"sync"
	"time"
)

// Faults are what goes wrong on purpose. The zero value is a healthy service.
type Faults struct {
	Unauthorized bool          // every log-in is refused, without asking the host
	Latency      time.Duration // added to each log-in and to the start of each command
	// DropStart cuts the connection once a command has started, DropOutput
	// instead of its first output: the number of the command since SetFaults, 0
	// for none.
	DropStart  int
	DropOutput int
	// LoseInput is the number of the command of whose input the first bytes are
	// lost, as old builds of OpenSSH for Windows lost some; 0 is none.
	LoseInput int
	// RefuseExec refuses to start any command.
	RefuseExec bool
}

// Counts are what was asked for since the start.
type Counts struct {
	LogIns        int // accepted
	LogInsRefused int // wrong password or key, unknown, locked, or not allowed
	Connections   int
	Commands      int
	Terminals     int // requests for a terminal, all refused
	Others        int // requests for a shell, a subsystem, a forwarding or a variable, all refused
}

// knobs hold faults and counters.
type knobs struct {
	mu     sync.Mutex
	faults Faults
	since  int // commands since SetFaults
	counts Counts
}

// SetFaults replaces the faults and starts their counting anew.
func (s *Server) SetFaults(f Faults) {
	s.knobs.mu.Lock()
	defer s.knobs.mu.Unlock()
	s.knobs.faults, s.knobs.since = f, 0
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
	return s.knobs.counts
}

// count applies change to the counters.
func (k *knobs) count(change func(*Counts)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.counts)
}

// An accident is what shall happen to one command.
type accident struct{ dropStart, dropOutput, loseInput, refuse bool }

// next counts a command and returns what shall happen to it.
func (k *knobs) next() accident {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts.Commands++
	k.since++
	f, n := k.faults, k.since
	return accident{
		dropStart: f.DropStart == n, dropOutput: f.DropOutput == n, loseInput: f.LoseInput == n, refuse: f.RefuseExec,
	}
}
