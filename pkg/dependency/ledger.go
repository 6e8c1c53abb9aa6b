package dependency

import (
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// Phases of item lines.
const (
	phaseLook    = "look"
	phaseUpdate  = "update"
	phaseStop    = "stop"
	phaseStart   = "start"
	phaseRestart = "restart"
	phaseRecycle = "recycle"
	phaseRepair  = "repair"
)

// A ledger holds what was asked for against what was answered.
type ledger struct {
	phase   pam.Phase
	on      func(ItemResult)
	order   []itemKey
	asked   map[itemKey]string // as it was asked for
	answers map[itemKey]ItemResult
	ended   map[itemKey]bool
	notes
}

func newLedger(phase pam.Phase, on func(ItemResult)) *ledger {
	if on == nil {
		on = func(ItemResult) {}
	}
	return &ledger{
		phase: phase, on: on, asked: map[itemKey]string{}, answers: map[itemKey]ItemResult{}, ended: map[itemKey]bool{},
	}
}

// ask enters an item and reports whether it is new.
func (l *ledger) ask(kind pam.DependencyKind, name string) bool {
	key := keyOf(kind, name)
	if _, ok := l.asked[key]; ok {
		return false
	}
	l.asked[key] = name
	l.order = append(l.order, key)
	return true
}

// hear takes one line as it arrives. What was not asked for, or is answered
// already, is noted and not believed.
func (l *ledger) hear(line powershell.Line) {
	last, heard := l.concerns(line)
	if line.T != "item" || !heard {
		return
	}
	key := keyOf(pam.DependencyKind(line.Kind), line.ID)
	name, ok := l.asked[key]
	switch {
	case !ok:
		l.add("an answer for %q, which was not asked for, was left out", text(line.ID))
		return
	case l.ended[key]:
		l.add("a second answer for %q was left out", text(line.ID))
		return
	}
	r := result(l.phase, line)
	r.Kind, r.Name = key.kind, name
	if !last && r.Status.Done() {
		return // half of a restart is none
	}
	l.answers[key], l.ended[key] = r, last
	l.on(r)
}

// concerns reports whether a line is about this phase, and whether it is an
// item's last word. A stop or a start that went wrong is worth hearing at once.
func (l *ledger) concerns(line powershell.Line) (last, heard bool) {
	switch line.Phase {
	case phaseUpdate:
		return true, l.phase == pam.PhaseUpdate
	case phaseRestart, phaseRecycle:
		return true, l.phase == pam.PhaseRestart
	case phaseRepair:
		return true, l.phase == pam.PhaseRepair
	case phaseStop, phaseStart:
		return false, l.phase == pam.PhaseRestart || l.phase == pam.PhaseRepair
	}
	return false, false
}

// settle returns one result for each item, in the order they were asked for.
// Those without an answer get the given status and error.
func (l *ledger) settle(status pam.Status, cause *pam.ItemError) []ItemResult {
	results := []ItemResult{}
	for _, key := range l.order {
		r, ok := l.answers[key]
		if !ok {
			e := *cause
			r = ItemResult{Phase: l.phase, Kind: key.kind, Name: l.asked[key], Status: status, Error: &e}
			l.on(r)
		}
		results = append(results, r)
	}
	return results
}

// maxTook is more than any item can take.
const maxTook = time.Hour

// result reads an item line.
func result(phase pam.Phase, line powershell.Line) ItemResult {
	r := ItemResult{
		Phase: phase, Status: status(line.Status), Reason: text(line.Reason),
		Before: snapshot(line.Before), After: snapshot(line.After),
		Took: time.Duration(min(max(line.Ms, 0), maxTook.Milliseconds())) * time.Millisecond,
	}
	if line.After != nil {
		r.Started = parseTime(line.After.Started)
	}
	if line.Err != nil {
		r.Error = itemError(*line.Err)
	}
	if !r.Status.Done() && r.Error == nil {
		r.Error = &pam.ItemError{Class: powershell.ClassUnknown, Message: "the machine gave no reason"}
	}
	return r
}

// status takes a status of the contract; anything else is unknown.
func status(s string) pam.Status {
	switch known := pam.Status(s); known {
	case pam.StatusOK, pam.StatusNoop, pam.StatusSkipped, pam.StatusFailed, pam.StatusTimeout, pam.StatusPending:
		return known
	default:
		return pam.StatusUnknown
	}
}

func snapshot(s *powershell.ItemState) pam.Snapshot {
	if s == nil {
		return pam.Snapshot{}
	}
	return pam.Snapshot{RunAs: text(s.RunAs), State: text(s.State), StartMode: text(s.StartMode)}
}

func itemError(e powershell.Err) *pam.ItemError {
	c := class(e.Class)
	if c == "" {
		c = powershell.ClassUnknown
	}
	return &pam.ItemError{Class: c, Native: e.Native, Message: text(e.Msg)}
}
