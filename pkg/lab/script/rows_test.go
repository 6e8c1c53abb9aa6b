package script_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// A doubt is one fact about Windows of which sources disagree, turned the less
// likely way. Every row holds whichever way it is.
type doubt struct {
	name    string
	machine model.Readings
	policy  func(p *model.Policy)
}

func doubts() []doubt {
	return []doubt{
		{"tasks store a password each", model.Readings{CredentialPerTask: true}, nil},
		{"services fall back to the password before", model.Readings{ServiceBackup: true}, nil},
		{"the service manager tries passwords", model.Readings{ChangeValidates: true}, nil},
		{"tasks take the name they are registered with", model.Readings{TaskUserRewritten: true}, nil},
		{"delayed services of a group take passwords", model.Readings{DelayedGroupChanges: true}, nil},
		{"old passwords count", model.Readings{}, func(p *model.Policy) { p.HistoryGrace = false }},
		{"old passwords log on over the network", model.Readings{}, func(p *model.Policy) { p.OldAccepted = true }},
		{"a refused logon counts twice", model.Readings{}, func(p *model.Policy) { p.CountTwice = true }},
		{"all of it", model.Readings{
			CredentialPerTask: true, ServiceBackup: true, ChangeValidates: true, TaskUserRewritten: true, DelayedGroupChanges: true,
		}, func(p *model.Policy) { p.HistoryGrace, p.OldAccepted, p.CountTwice = false, true, true }},
	}
}

// run plays a row on the twin under every reading of Windows, and in the engine
// on a machine of its own, where its answers must be the twin's word for word.
func (r row) run(t *testing.T) {
	t.Helper()
	t.Parallel()
	r.everywhere(t)
}

func (r row) everywhere(t *testing.T) {
	t.Helper()
	r.onTwin(t)
	t.Run("engine", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, r.spec).inEngine(t)
		if err := r.play(w); err != nil {
			t.Fatal(err)
		}
		w.check(r.want)
		sameWords(t, w, func(w *world) error { return r.play(w) }, r.spec)
	})
}

// play is a scenario: the machine, T's new password, and a rotation's visit.
func (r row) play(w *world) error {
	r.build(w)
	w.reset()
	return w.apply()
}

func (r row) onTwin(t *testing.T) {
	t.Helper()
	for _, d := range append([]doubt{{name: "twin"}}, doubts()...) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newDoubtfulWorld(t, d, r.spec)
			if err := r.play(w); err != nil {
				t.Fatal(err)
			}
			w.check(r.want)
		})
	}
}

// both plays a scenario of more than one visit, on the twin under every reading
// of Windows and in the engine.
func both(t *testing.T, spec func(s *model.MachineSpec), play func(w *world)) {
	t.Helper()
	for _, d := range append([]doubt{{name: "twin"}}, doubts()...) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newDoubtfulWorld(t, d, spec)
			play(w)
		})
	}
	t.Run("engine", func(t *testing.T) {
		t.Parallel()
		play(newWorld(t, spec).inEngine(t))
	})
}

// together plays rows like run, but has rows whose items have different names
// share a machine in the engine: a start of one costs more than all the rest.
// Only rows that do nothing but add items can.
func together(t *testing.T, rows []row) {
	t.Helper()
	shared := map[string]*batch{}
	for _, b := range batches(t, rows) {
		for _, r := range b.rows {
			shared[r.name] = b
		}
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.onTwin(t)
			t.Run("engine", func(t *testing.T) {
				t.Parallel()
				b := shared[r.name]
				enginePath(t)
				b.once.Do(b.play)
				if b.err != nil {
					t.Fatal(b.err)
				}
				b.w.checkSome(t, r.want)
				b.words.Do(func() { sameWords(t, b.w, b.replay, nil) })
			})
		})
	}
}

// A batch is rows that share one machine in the engine.
type batch struct {
	t    *testing.T // of all its rows
	rows []row
	used map[string]bool
	once sync.Once
	w    *world
	err  error

	words sync.Once // compared with the twin's
}

func (b *batch) play() {
	b.w = newWorld(b.t, nil).inEngine(b.t)
	b.err = b.replay(b.w)
}

func (b *batch) replay(w *world) error {
	return row{build: func(w *world) {
		for _, r := range b.rows {
			r.build(w)
		}
	}}.play(w)
}

// batches puts each row with the first rows that use none of its names.
func batches(t *testing.T, rows []row) []*batch {
	t.Helper()
	var all []*batch
	for _, r := range rows {
		names := slices.Collect(maps.Keys(r.want))
		clash := func(b *batch) bool {
			return slices.ContainsFunc(names, func(n string) bool { return b.used[strings.ToLower(n)] })
		}
		at := slices.IndexFunc(all, func(b *batch) bool { return !clash(b) })
		if at < 0 || r.spec != nil {
			at = len(all)
			all = append(all, &batch{t: t, used: map[string]bool{}})
		}
		if r.spec != nil {
			t.Fatalf("%s: a row that bends the machine shares it with no other", r.name)
		}
		all[at].rows = append(all[at].rows, r)
		for _, n := range names {
			all[at].used[strings.ToLower(n)] = true
		}
	}
	return all
}

// sameWords holds the answers of the engine against the twin's on a machine that
// was made alike.
func sameWords(t *testing.T, inEngine *world, play func(w *world) error, spec func(s *model.MachineSpec)) {
	t.Helper()
	w := newWorld(t, spec)
	if err := play(w); err != nil {
		t.Fatal(err)
	}
	got, want := said(t, inEngine), said(t, w)
	for n := range max(len(got), len(want)) {
		var a, b string
		if n < len(got) {
			a = got[n]
		}
		if n < len(want) {
			b = want[n]
		}
		if a != b {
			t.Errorf("line %d of what the machine said\nscript %s\n  twin %s", n+1, a, b)
			return
		}
	}
}

// said is what came out of a machine, without what may differ between an engine
// and its twin: texts for people, versions, how long it took.
func said(t *testing.T, w *world) []string {
	t.Helper()
	var lines []string
	for text := range strings.Lines(w.out.String()) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(text), "#WSX ")
		if !ok {
			continue
		}
		var l powershell.Line
		if err := json.Unmarshal([]byte(rest), &l); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		l.N, l.PS, l.Ms = "", "", 0
		if l.Err != nil {
			l.Err.Msg, l.Err.Type, l.Err.HResult = "", "", ""
		}
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	return lines
}
