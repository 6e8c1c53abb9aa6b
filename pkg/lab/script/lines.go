package script

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// A run is one frame being answered.
type run struct {
	m       *model.Machine
	req     powershell.Request
	secrets []secret.Value
	info    model.Info
	who     target
	names   map[string]resolved
	known   map[int]bool // processes that an item of the inventory accounts for
	began   time.Time
	unlock  func()
	noLogon map[string]bool // services that could not log on, and those that need them, in upper case

	out    io.Writer
	broken bool
	lines  int
	counts map[string]int

	dir           string
	journal       *os.File
	stoppedByThis map[string]bool // by upper-case name, from the journal of an earlier run of this job
}

func (r *run) close() {
	for _, s := range r.secrets {
		s.Destroy()
	}
	if r.journal != nil {
		_ = r.journal.Close()
	}
	if r.unlock != nil {
		r.unlock()
	}
}

func (r *run) elapsed() time.Duration { return r.m.Clock().Now().Sub(r.began) }

func (r *run) overdue() bool { return r.elapsed().Milliseconds() >= r.req.DeadlineMs }

// emit writes one line. After the first failed write nobody is heard any more,
// but what was begun is brought to its end. The error is errDead.
func (r *run) emit(ctx context.Context, l powershell.Line) error {
	if ctx.Err() != nil {
		return errDead
	}
	l.N = r.req.Nonce
	var b bytes.Buffer
	if err := powershell.WriteLine(&b, l); err != nil {
		return err
	}
	r.note(b.Bytes())
	r.lines++
	if r.broken {
		return nil
	}
	text := b.Bytes()
	if l.T == "hello" { // a banner before it may lack its line end
		text = append([]byte("\n"), text...)
	}
	_, err := r.out.Write(text)
	r.broken = err != nil
	if ctx.Err() != nil {
		return errDead
	}
	return nil
}

// item writes an item line and counts its status.
func (r *run) item(ctx context.Context, l powershell.Line) error {
	l.T = "item"
	if l.Phase != "look" && l.Status != "" {
		r.counts[l.Status]++
	}
	return r.emit(ctx, l)
}

func (r *run) fatal(ctx context.Context, class string, err *powershell.Err) error {
	return r.emit(ctx, powershell.Line{T: "fatal", Class: class, Err: err})
}

func (r *run) bye(ctx context.Context, code int) error {
	counts := map[string]int{powershell.CountLines: r.lines}
	maps.Copy(counts, r.counts)
	return r.emit(ctx, powershell.Line{T: "bye", Code: code, Counts: counts, Ms: r.elapsed().Milliseconds()})
}

// code is 0 when all is as wanted, 10 when some is not, 11 when nothing was done.
func (r *run) code() int {
	switch {
	case r.counts["failed"]+r.counts["timeout"]+r.counts["pending"] == 0:
		return powershell.ByeOK
	case r.counts["ok"] > 0:
		return powershell.ByePartial
	default:
		return powershell.ByeNothing
	}
}

// since is how long something took, as the lines say it.
func (r *run) since(t time.Time) int64 { return r.m.Clock().Now().Sub(t).Milliseconds() }

var runPattern = regexp.MustCompile(`\A[A-Za-z0-9_-]{1,64}\z`)

func (r *run) journalPath() string {
	if r.dir == "" || !runPattern.MatchString(r.req.Run) {
		return ""
	}
	return filepath.Join(r.dir, r.req.Run+".ndjson")
}

// openJournal appends to the run's journal; without one the script works just
// the same.
func (r *run) openJournal() {
	path := r.journalPath()
	if path == "" || os.MkdirAll(r.dir, 0o700) != nil {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the name has passed runPattern
	if err == nil {
		r.journal = f
	}
}

func (r *run) note(b []byte) {
	if r.journal == nil {
		return
	}
	if _, err := r.journal.Write(b); err != nil {
		_ = r.journal.Close()
		r.journal = nil
	}
}

type intent struct {
	T  string `json:"t"` // stopping, starting, started
	ID string `json:"id"`
	At string `json:"at"`
}

// intend notes in the journal what is about to be done, or just was.
func (r *run) intend(what, id string) {
	b, err := json.Marshal(intent{what, id, model.Stamp(r.m.Clock().Now())})
	if err == nil {
		r.note(append(append([]byte("#WSX "), b...), '\n'))
	}
}

// maxJournalLine bounds what is read back of a journal.
const maxJournalLine = 1 << 20

// readJournal finds what earlier calls of this run stopped.
func (r *run) readJournal() {
	r.stoppedByThis = map[string]bool{}
	f, err := os.Open(r.journalPath())
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewScanner(f)
	in.Buffer(nil, maxJournalLine)
	for in.Scan() {
		text, ok := strings.CutPrefix(in.Text(), "#WSX ")
		var i intent
		if ok && json.Unmarshal([]byte(text), &i) == nil && i.T == "stopping" {
			r.stoppedByThis[strings.ToUpper(i.ID)] = true
		}
	}
}
