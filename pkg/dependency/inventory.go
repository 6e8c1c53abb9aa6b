package dependency

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// dependencyKinds are the kinds of what stores a password on a machine.
var dependencyKinds = pam.MapAll.Dependencies()

// What a machine may make us keep. Names beyond the limit are dropped with their
// item, never cut: a cut name may be another's.
const (
	maxItems = 20_000
	maxEdges = 4096
	maxNames = 1024 // bytes of a name
	maxText  = 300  // characters of a text for people
	maxNotes = 20
	maxPID   = 1<<31 - 1
)

// inventory reads the look lines of an answer. Nothing is believed that was not
// asked for; what is dropped is noted.
func (w *windows) inventory(a powershell.Answer, s Subject, kinds []pam.DependencyKind) Inventory {
	inv := Inventory{
		MachineID: machineID(a.Machine.GUID), Host: text(a.Hello.Host), Domain: text(a.Machine.Domain), DC: a.Machine.DC,
		User: text(a.Machine.User), LockoutThreshold: threshold(a.Machine.LockoutThreshold), Items: []Item{}, Seen: w.options.Now(),
	}
	if a.Account != nil {
		inv.Subject = Resolved{
			SID: text(a.Account.SID), Name: text(a.Account.Name), Class: class(a.Account.Class), Scope: class(a.Account.Scope),
		}
	}
	r := itemReader{
		kinds: kinds, storageDisabled: a.Machine.StorageDisabled, seen: map[itemKey]bool{}, namesakes: map[itemKey]bool{},
	}
	for _, line := range a.Items {
		if line.Phase != phaseLook && line.Phase != "" {
			continue
		}
		if told, ok := report(line); ok {
			inv.report(told)
			continue
		}
		r.read(line)
	}
	inv.Items, inv.Warnings = append(inv.Items, r.concerned()...), r.notes
	inv.localElsewhere(s)
	return inv
}

// localElsewhere sees to it that another machine's local account is not taken
// for the subject: cloned machines share SIDs, and names mean little.
func (inv *Inventory) localElsewhere(s Subject) {
	home, _, ok := strings.Cut(s.Identity.Alias, "/")
	if !s.Local || !ok || strings.EqualFold(home, inv.MachineID) {
		return
	}
	if len(inv.Items) > 0 {
		inv.Warnings = append(inv.Warnings, "what runs here as "+s.Login+" is another machine's local account: it is left alone")
	}
	inv.Items, inv.Reports = []Item{}, nil
}

// An itemReader reads item lines.
type itemReader struct {
	kinds           []pam.DependencyKind
	storageDisabled bool
	seen            map[itemKey]bool
	namesakes       map[itemKey]bool // run as another account of the subject's name
	items           []Item
	notes           notes
}

func (r *itemReader) read(line powershell.Line) {
	kind := pam.DependencyKind(line.Kind)
	if !r.believes(kind, line) {
		return
	}
	r.seen[keyOf(kind, line.ID)] = true
	if line.Match == nil && line.Status == string(pam.StatusFailed) {
		r.unreadable(kind, line)
		return
	}
	r.warn(kind, line)
	r.items = append(r.items, r.item(kind, line))
}

// warn notes what people should know of an item that is as it should be.
func (r *itemReader) warn(kind pam.DependencyKind, line powershell.Line) {
	if line.Match != nil && line.Match.Namesake && !line.Match.Hit {
		r.namesakes[keyOf(kind, line.ID)] = true
		r.notes.add("%s %q runs as %s, another account of the same name (%s), and is left alone",
			kind.Label(), text(line.ID), text(line.RunAs), text(line.Match.SID))
		return
	}
	for _, word := range line.Warn {
		switch word {
		case powershell.WarnDeletesItself:
			r.notes.add("task %q deletes itself once it has expired: it may be gone after its update", text(line.ID))
		case powershell.WarnRunsWhenMissed:
			r.notes.add("task %q makes up for a missed start: it may run soon after its update", text(line.ID))
		}
	}
}

// concerned are the items without the namesakes: those are only told of, unless
// they need a service of the subject and are restarted with it.
func (r *itemReader) concerned() []Item {
	needs := map[itemKey]bool{}
	for _, i := range r.items {
		for _, d := range i.Dependents {
			needs[keyOf(pam.KindService, d)] = needs[keyOf(pam.KindService, d)] || i.Target
		}
	}
	return slices.DeleteFunc(r.items, func(i Item) bool {
		key := keyOf(i.Kind, i.Name)
		return r.namesakes[key] && !needs[key]
	})
}

// believes notes why a line is left out.
func (r *itemReader) believes(kind pam.DependencyKind, line powershell.Line) bool {
	switch {
	case !slices.Contains(dependencyKinds, kind):
		r.notes.add("an item of a kind that is not known here was left out: %q", text(line.Kind))
	case !r.asked(kind, line):
		r.notes.add("%s %q was not asked for and is left out", kind.Label(), text(line.ID))
	case !validName(line.ID) || len(line.RunAs) > maxNames:
		r.notes.add("a %s with an unusable name was left out: %q", kind.Label(), text(line.ID))
	case len(r.items) == maxItems:
		r.notes.add("there are more than %d items: the rest was left out", maxItems)
	case r.seen[keyOf(kind, line.ID)]:
		r.notes.add("%s %q was listed twice", kind.Label(), text(line.ID))
	default:
		return true
	}
	return false
}

// asked reports whether a line is of a kind that was asked for. Dependents are
// services whatever was asked for.
func (r *itemReader) asked(kind pam.DependencyKind, line powershell.Line) bool {
	hit := line.Match != nil && line.Match.Hit
	return slices.Contains(r.kinds, kind) || kind == pam.KindService && !hit
}

// unreadable keeps what could not be read, one task or all items of a kind, as an
// item that nothing can be done with: who it runs as is not known, and a job must
// not end as if it did not matter.
func (r *itemReader) unreadable(kind pam.DependencyKind, line powershell.Line) {
	reason := skipReason(line)
	r.notes.add("%s %q could not be read (%s). %s", kind.Label(), text(line.ID), reason, powershell.Explain(reason))
	r.items = append(r.items, Item{Kind: kind, Name: line.ID, Skip: reason, State: stateUnknown, Unreadable: true})
}

func (r *itemReader) item(kind pam.DependencyKind, line powershell.Line) Item {
	i := Item{
		Kind: kind, Name: line.ID, Display: text(line.Display), RunAs: line.RunAs,
		State: itemState(kind, line.State), StartMode: startMode(line.StartMode),
		PID: pid(line.PID), Started: parseTime(line.Started), CanStop: line.CanStop, CanPause: line.CanPause, Own: line.Own,
		LogonType: text(line.LogonType), Workers: pids(line.Workers), Clustered: line.Clustered,
	}
	i.Skip = r.skip(kind, line)
	i.Target = line.Match != nil && line.Match.Hit && i.Skip == ""
	var whole bool
	if i.DependsOn, whole = names(line.Depends); !whole {
		i.CanStop = false // whom it needs is not known: it must not be touched
	}
	if i.Dependents, whole = names(line.Children); !whole {
		i.CanStop = false
	}
	return i
}

// skip is why an item is not updated although it looks like the subject's.
func (r *itemReader) skip(kind pam.DependencyKind, line powershell.Line) string {
	m := line.Match
	switch {
	case m == nil || !m.Hit && !m.Ambiguous:
		return ""
	case m.Ambiguous:
		return powershell.ClassAmbiguous
	case passwordless(m.Class) != "":
		return passwordless(m.Class)
	case line.Status == string(pam.StatusSkipped) || line.Status == string(pam.StatusFailed):
		return skipReason(line)
	case kind == pam.KindTask && !line.Stores:
		return powershell.ClassNoStoredPassword
	case kind == pam.KindTask && r.storageDisabled:
		return powershell.ClassStorageDisabled
	}
	return ""
}

// passwordless is the error class of an account class that has no password to store.
func passwordless(accountClass string) string {
	switch accountClass {
	case "managed":
		return powershell.ClassManaged
	case "virtual":
		return powershell.ClassVirtual
	case "builtin":
		return powershell.ClassBuiltin
	}
	return ""
}

func skipReason(line powershell.Line) string {
	if c := class(line.Reason); c != "" {
		return c
	}
	if line.Err != nil && class(line.Err.Class) != "" {
		return class(line.Err.Class)
	}
	return powershell.ClassUnknown
}

// itemState returns a state that Windows has, or unknown.
func itemState(kind pam.DependencyKind, s string) string {
	states := []string{ // of a service
		stateRunning, statePaused, stateStopped, "StartPending", "StopPending", "ContinuePending", "PausePending",
	}
	switch kind {
	case pam.KindTask:
		states = []string{"Ready", stateRunning, modeDisabled, "Queued"}
	case pam.KindPool:
		states = []string{stateStarted, stateStopped, "Starting", "Stopping"}
	case pam.KindVdir, pam.KindAnonymous:
		return ""
	default:
	}
	for _, known := range states {
		if strings.EqualFold(known, strings.ReplaceAll(s, " ", "")) {
			return known
		}
	}
	return stateUnknown
}

func startMode(s string) string {
	for _, known := range []string{"Auto", "Manual", modeDisabled} {
		if strings.EqualFold(known, s) {
			return known
		}
	}
	if strings.EqualFold(s, "Automatic") {
		return "Auto"
	}
	return text(s)
}

func pid(n int) int {
	if n < 0 || n > maxPID {
		return 0
	}
	return n
}

func pids(all []int) []int {
	var own []int
	for _, n := range all {
		if n = pid(n); n != 0 && len(own) < maxEdges {
			own = append(own, n)
		}
	}
	return own
}

// names returns the usable names of a list and whether those are all.
func names(all []string) (usable []string, whole bool) {
	for n, name := range all {
		if n == maxEdges || !validName(name) {
			return usable, false
		}
		usable = append(usable, name)
	}
	return usable, true
}

// validName takes what can be a name on Windows: text without control characters.
func validName(s string) bool {
	return s != "" && len(s) <= maxNames && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func threshold(n *int) *int {
	if n == nil || *n < 0 || *n > 999 { // Windows allows 0 to 999
		return nil
	}
	return n
}

func machineID(guid string) string {
	id := strings.ToLower(strings.Trim(guid, "{}"))
	if !regexp.MustCompile(`^[0-9a-f-]{1,64}$`).MatchString(id) {
		return ""
	}
	return id
}

// class returns a word of the contract, or "" for what can be none.
func class(s string) string {
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		return ""
	}
	return s
}

// text is a machine's text for people: of bounded length, without control or
// formatting characters.
func text(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxText {
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Notes are sentences about what a machine said and was not believed.
type notes []string

func (n *notes) add(format string, args ...any) {
	if len(*n) < maxNotes {
		*n = append(*n, fmt.Sprintf(format, args...))
	}
}
