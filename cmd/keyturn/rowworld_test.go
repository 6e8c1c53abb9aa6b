package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keyturn/commands"
	"keyturn/pkg/lab"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// A rowWorld is a row's machine and account in a hall.
type rowWorld struct {
	row   cliRow
	t     *testing.T
	hall  *hall
	id    string // of the row, with a letter where there are several: the machine's name
	m     *model.Machine
	sam   *model.SAM // who decides the account's password
	name  string     // of the account there
	login string     // as its record has it
	sid   string
	said  bytes.Buffer // all that commands wrote
	last  jobResult
	runAs map[string]string
	tasks map[string]model.Task
}

// A jobResult is what rotate and job-info say of a job in JSON, and a failure.
type jobResult struct {
	JobID    string `json:"job_id"`
	State    string `json:"state"`
	Message  string `json:"message"`
	Hint     string `json:"hint"`
	Warnings []string
	Items    []struct {
		Machine string
		Kind    pam.DependencyKind
		Name    string
		Phase   pam.Phase
		Status  pam.Status
		Action  pam.Action
		Reason  string
		Error   *pam.ItemError
	}
	Error struct{ Message, Hint, Kind string }
}

// join makes the machine and the account, before the lab starts.
func (w *rowWorld) join(h *hall) {
	w.hall, w.sam = h, h.domain.SAM
	spec := model.MachineSpec{Name: w.id}
	if w.row.where.spec != nil {
		w.row.where.spec(&spec)
	}
	w.m = h.machine(spec)
	w.name = w.row.where.sam
	if w.name == "" {
		w.name = "svc_" + strings.ToLower(w.id)
	}
	w.login = w.row.where.login
	if w.login == "" {
		w.login = model.PracticeDomain + `\` + w.name
	}
	if w.row.where.authority == "." && !spec.DC {
		w.sam = w.m.Local()
	}
	if _, there := w.sam.User(w.name); !there && !w.row.where.foreign {
		w.sam.Add(model.User{Sam: w.name, Password: plain(w.password())})
	}
	v, _ := w.sam.User(w.name)
	w.sid = v.SID
}

func (w *rowWorld) password() string {
	if w.row.where.password != "" {
		return w.row.where.password
	}
	return oldCanary
}

// old is the account's password before the row begins.
func (w *rowWorld) old() secret.Value { return plain(w.password()) }

// user is the title of the account's record.
func (w *rowWorld) user() string { return "user-" + w.id }

// records are the commands that make the row's records; the machine has one already.
func (w *rowWorld) records(t *testing.T) []string {
	t.Helper()
	rules, authority := w.row.where.rules, w.row.where.authority
	if rules == "" {
		rules = "24,2,2,2,2"
	}
	switch authority {
	case "":
		authority = "DC01"
	case ".":
		authority = w.id
	}
	var lines []string
	if w.name == "admin" { // has its record already
		return []string{`pam rotation edit -r "LAB admin" -rs ` + authority + ` -od --enable --force`}
	}
	known := " password=@" + w.hall.file(t, w.id+".password", w.password())
	if w.row.where.unknown {
		known = ""
	}
	lines = append(lines,
		fmt.Sprintf("record-add -rt pamUser -t %s %s%s", w.user(), commands.Quote("login="+w.login), known),
		fmt.Sprintf("pam rotation edit -r %s -rs %s -x %s -od --enable --force", w.user(), authority, rules))
	if w.row.where.ownAdmin {
		w.m.Local().Add(model.User{Sam: "Administrator", RID: 500, Password: plain(adminCanary)})
		lines = append(lines, "pam rotation edit -rs "+w.id+" -a ITSADMIN --force")
	}
	if !w.row.where.unmapped {
		lines = append(lines, fmt.Sprintf("pam action service add -g Embedded -m %s -u %s", w.id, w.user()))
	}
	return lines
}

// svc adds a service of the account with its present password.
func (w *rowWorld) svc(name string, state model.State, change func(s *model.ServiceSpec)) {
	s := model.ServiceSpec{Name: name, StartName: w.login, Password: w.old()}
	if change != nil {
		change(&s)
	}
	w.m.AddService(s, state)
}

// dep adds a service of nobody's that needs another.
func (w *rowWorld) dep(name, needs string, state model.State) {
	w.m.AddService(model.ServiceSpec{Name: name, DependsOn: []string{needs}, CanPause: true}, state)
}

func (w *rowWorld) task(path string, change func(s *model.TaskSpec)) {
	s := model.TaskSpec{Path: path, UserID: w.login, Password: w.old()}
	if change != nil {
		change(&s)
	}
	w.m.AddTask(s)
}

func (w *rowWorld) pool(name string, change func(s *model.PoolSpec)) {
	s := model.PoolSpec{Name: name, IdentityType: model.PoolSpecificUser, UserName: w.login, Password: w.old(), Workers: 1}
	if change != nil {
		change(&s)
	}
	w.m.AddPool(s)
}

// machine is the row's machine in the lab.
func (w *rowWorld) machine() *lab.Machine { return w.hall.fleet.Machine(w.id) }

// do runs a command, which must end with that exit code, and returns what it wrote.
func (w *rowWorld) do(code int, args ...string) (stdout, stderr string) {
	w.t.Helper()
	got, stdout, stderr := w.hall.keyturn(args...)
	if args[0] != "get" {
		w.said.WriteString(stdout + stderr)
	}
	if got != code {
		w.t.Errorf("keyturn %s: exit code %d, want %d: %s", strings.Join(args, " "), got, code, stderr)
	}
	return stdout, stderr
}

// job runs a command that shows a job in JSON, and remembers what it says.
func (w *rowWorld) job(code int, args ...string) {
	w.t.Helper()
	w.hear(w.do(code, append(args, "--format", "json")...))
}

// hear remembers what a command said of a job, in JSON.
func (w *rowWorld) hear(stdout, stderr string) {
	w.t.Helper()
	w.said.WriteString(stdout + stderr)
	w.last = jobResult{}
	for _, text := range []string{stdout, stderr} {
		if text != "" && json.Unmarshal([]byte(text), &w.last) != nil {
			w.t.Errorf("not one JSON document: %s", text)
		}
	}
	if stdout == "" && w.last.Error.Message == "" {
		w.t.Error("a command says nothing")
	}
}

func (w *rowWorld) rotate(code int, flags ...string) {
	w.t.Helper()
	w.job(code, append([]string{"pam", "action", "rotate", "-r", w.record()}, flags...)...)
}

// rotateOrResume rotates over a connection that breaks: what the machine said last
// is asked for again, or broke off in the middle, and then resume finds it done.
func (w *rowWorld) rotateOrResume() {
	w.t.Helper()
	code, stdout, stderr := w.hall.keyturn("pam", "action", "rotate", "-r", w.record(), "--format", "json")
	w.hear(stdout, stderr)
	switch code {
	case 0:
	case 6:
		w.job(0, "pam", "action", "resume", w.last.JobID)
	default:
		w.t.Errorf("exit code %d: %s", code, stderr)
	}
}

// record is the account's record.
func (w *rowWorld) record() string {
	if w.name == "admin" {
		return "LAB admin"
	}
	return w.user()
}

// run plays the row.
func (w *rowWorld) run(t *testing.T) {
	t.Helper()
	w.t = t
	if w.row.build != nil {
		w.row.build(w)
	}
	w.remember()
	if w.row.play != nil {
		w.row.play(w)
	} else {
		w.dryRun()
		w.rotate(w.row.code, w.row.flags...)
		w.check(w.row.want)
	}
	w.sameTwice()
	for _, s := range w.row.says {
		if !strings.Contains(w.words(), s) {
			t.Errorf("nobody says %q: %s", s, w.words())
		}
	}
	if w.row.then != nil {
		w.row.then(w)
	}
	if n := w.refusals(); n != w.row.refused {
		t.Errorf("%d log-ons as the account were refused, want %d", n, w.row.refused)
	}
	w.inForce()
	w.noSecrets()
}

// words are what the last job says for people, whatever the end.
func (w *rowWorld) words() string {
	l := w.last
	return strings.Join(append([]string{l.Message, l.Hint, l.Error.Message, l.Error.Hint}, l.Warnings...), "\n")
}

// remember notes how the machine is before the row.
func (w *rowWorld) remember() {
	w.runAs, w.tasks = map[string]string{}, map[string]model.Task{}
	for _, s := range w.m.View().Services {
		w.runAs[s.Name] = s.RunAs
	}
	if tasks, err := w.m.Tasks(); err == nil {
		for _, task := range tasks {
			w.tasks[task.Path] = task
		}
	}
}

// dryRun asks what would be done: whatever the row, nothing is, and nobody logs on
// as the account (S44).
func (w *rowWorld) dryRun() {
	w.t.Helper()
	before, events := w.m.View(), w.happened()
	account, _ := w.sam.User(w.name)
	code := w.row.code
	if w.row.late || code == pam.ErrPartial.Code() { // what makes a job partial happens later
		code = 0
	}
	stdout, _ := w.do(code, append([]string{"pam", "action", "rotate", "-r", w.record(), "--dry-run", "--format", "json"}, w.row.flags...)...)
	if after := w.m.View(); !reflect.DeepEqual(before, after) || !slices.Equal(events, w.happened()) {
		w.t.Errorf("S44: a dry run did something: %v", w.happened()[len(events):])
	}
	if after, _ := w.sam.User(w.name); after != account {
		w.t.Errorf("S44: a dry run changed the account from %+v to %+v", account, after)
	}
	var plan jobResult
	if stdout == "" || len(w.row.plan) == 0 {
		return
	}
	if err := json.Unmarshal([]byte(stdout), &plan); err != nil {
		w.t.Fatal(err)
	}
	got := map[string]string{}
	for _, i := range plan.Items {
		got[i.Name] = strings.TrimSpace(string(i.Action) + " " + i.Reason)
	}
	for name, want := range w.row.plan {
		if got[name] != want {
			w.t.Errorf("the plan for %s is %q, want %q", name, got[name], want)
		}
	}
}

// happened is everything on the machine but the log-ins of whoever works there.
func (w *rowWorld) happened() []model.Event {
	return slices.DeleteFunc(w.m.Events(), func(e model.Event) bool {
		return strings.Contains(strings.ToLower(e.Name), "admin") && e.Kind == model.LoggedOn
	})
}

// refusals counts the refused log-ons as the account, here and on the controller.
func (w *rowWorld) refusals() int {
	n := 0
	for _, m := range []*model.Machine{w.m, w.hall.fleet.Model.DC} {
		for _, e := range m.Events() {
			mine := strings.Contains(strings.ToLower(e.Name), strings.ToLower(w.name))
			refused := e.Kind == model.LogonFailed && mine && e.Code == uint32(model.LogonFailure)
			if refused || m == w.m && e.Kind == model.TaskRefused && e.Code == uint32(model.LogonFailureHR) {
				n++
			}
		}
	}
	return n
}

// summary is one line an item: what the job says of it, and what it is now.
func (w *rowWorld) summary() map[string]string {
	all := map[string]string{}
	for _, i := range w.last.Items {
		if i.Machine != w.id || i.Kind == pam.KindAccount {
			continue
		}
		text := string(i.Phase) + "=" + string(i.Status)
		switch {
		case i.Error != nil:
			text += "/" + i.Error.Class
		case i.Reason != "":
			text += "/" + i.Reason
		}
		all[i.Name] = text
	}
	add := func(name, state string, needs, ok, inherits bool) {
		words := []string{all[name], state}
		if needs {
			words = append(words, map[bool]string{true: "new", false: "old"}[ok])
		}
		if inherits {
			words = append(words, "inherits")
		}
		all[name] = strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
	}
	v := w.m.View()
	for _, s := range v.Services {
		add(s.Name, fmt.Sprintf("%s restarts=%d", s.State, s.Restarts), s.StoresSecret, s.CredentialOK, false)
	}
	for _, s := range v.Tasks {
		add(s.Path, fmt.Sprintf("%s runs=%d", s.State, s.Runs), s.StoresSecret, s.CredentialOK, false)
	}
	for _, s := range v.Pools {
		add(s.Name, fmt.Sprintf("%s recycles=%d", s.State, s.Recycles), s.StoresSecret, s.CredentialOK, s.Inherits)
	}
	for _, s := range slices.Concat(v.Directories, v.Anonymous) {
		add(s.Name, "", s.StoresSecret, s.CredentialOK, s.Inherits)
	}
	return all
}

// check holds the summary against what the row wants.
func (w *rowWorld) check(want map[string]string) {
	w.t.Helper()
	want = maps.Clone(want)
	if w.hall.away {
		maps.Copy(want, w.row.other)
	}
	got := w.summary()
	for name, text := range got {
		if _, ok := want[name]; !ok {
			w.t.Errorf("%s is not expected: %s", name, text)
		}
	}
	for name, text := range want {
		if got[name] != text {
			w.t.Errorf("%s\n got %s\nwant %s", name, got[name], text)
		}
	}
	for _, s := range w.m.View().Services {
		if was, ok := w.runAs[s.Name]; ok && was != s.RunAs {
			w.t.Errorf("%s ran as %s, and is stored as %s", s.Name, was, s.RunAs)
		}
	}
	w.checkTasks()
}

var userIDs = regexp.MustCompile(`<UserId>[^<]*</UserId>`)

// checkTasks sees to it that tasks are what they were, but for the spelling of who
// runs them.
func (w *rowWorld) checkTasks() {
	w.t.Helper()
	tasks, err := w.m.Tasks()
	if err != nil {
		return
	}
	for _, now := range tasks {
		was, ok := w.tasks[now.Path]
		if !ok {
			continue
		}
		same := userIDs.ReplaceAllString(was.XML, "") == userIDs.ReplaceAllString(now.XML, "")
		if !same || was.Descriptor != now.Descriptor {
			w.t.Errorf("%s: more than its user changed:\n%s %s\n%s %s", now.Path, was.XML, was.Descriptor, now.XML, now.Descriptor)
		}
	}
}

// sameTwice asks for the job again: job-info says what rotate said, and has a word
// for everything for people too.
func (w *rowWorld) sameTwice() {
	w.t.Helper()
	first := w.last
	if first.JobID == "" {
		return
	}
	w.do(0, "pam", "action", "job-info", first.JobID)
	stdout, _ := w.do(0, "pam", "action", "job-info", first.JobID, "--format", "json")
	var again jobResult
	if err := json.Unmarshal([]byte(stdout), &again); err != nil {
		w.t.Fatal(err)
	}
	if first.Error = again.Error; !reflect.DeepEqual(first, again) {
		w.t.Errorf("job-info says %+v, rotate said %+v", again, first)
	}
}

// inForce sees to it that the record's password is the account's, and that nobody
// locked the account.
func (w *rowWorld) inForce() {
	w.t.Helper()
	if w.row.where.foreign || w.row.where.unknown {
		return
	}
	stdout, _ := w.do(0, "get", w.record(), "--format", "password", "--unmask")
	password := strings.TrimSuffix(stdout, "\n")
	if !w.sam.Matches(w.name, plain(password)) {
		w.t.Errorf("the vault's password is not the account's")
	}
	if v, _ := w.sam.User(w.name); v.Locked && !strings.HasPrefix(w.row.name, "A06") {
		w.t.Errorf("the account is locked out: %+v", v)
	}
	for _, p := range []string{password, w.password(), oldCanary, adminCanary, otherCanary} {
		for _, form := range []string{p, base64.StdEncoding.EncodeToString([]byte(p))} {
			if strings.Contains(w.said.String(), form) {
				w.t.Errorf("a command wrote a password")
			}
		}
	}
}

func (w *rowWorld) noSecrets() {
	w.t.Helper()
	if strings.Contains(w.said.String(), "canary") {
		w.t.Error("a command wrote a password")
	}
}

// changes is how often the account's password was set.
func (w *rowWorld) changes() int {
	v, _ := w.sam.User(w.name)
	return v.Changes
}
