package model

import (
	"slices"
	"strings"
	"time"

	"keyturn/pkg/secret"
)

// Flags of RegisterTask.
const (
	TaskCreate                     = 0x2
	TaskUpdate                     = 0x4
	TaskDisable                    = 0x8
	TaskDontAddPrincipalACE        = 0x10
	TaskIgnoreRegistrationTriggers = 0x20
)

// Values of TASK_LOGON_TYPE.
const (
	TaskLogonPassword              = 1
	TaskLogonS4U                   = 2
	TaskLogonInteractive           = 3
	TaskLogonGroup                 = 4
	TaskLogonServiceAccount        = 5
	TaskLogonInteractiveOrPassword = 6
)

// A TaskSpec describes a scheduled task. XML, when given, is what the Task
// Scheduler stores; otherwise it is made from the rest.
type TaskSpec struct {
	Path         string // \Folder\Name
	XML          string
	UserID       string
	LogonType    string       // "" is Password
	Password     secret.Value // what the credential store holds
	Disabled     bool
	Hidden       bool
	Registration bool // has a RegistrationTrigger: registering it starts it
	Running      int  // instances
	Descriptor   string
	Expired      bool // past its end with DeleteExpiredTaskAfter: the scheduler deletes it once it is registered again
	Faults       TaskFaults
}

// TaskFaults are how the Task Scheduler misbehaves with a task.
type TaskFaults struct {
	RegisterCodes []HResult // what the next registrations answer, one each
}

type task struct {
	TaskSpec
	instances  []int
	lastResult uint32
	registered int
	runs       int
}

// neverRun is SCHED_S_TASK_HAS_NOT_RUN.
const neverRun = 0x41303

// AddTask adds a task. Its password goes to the credential store: one per
// account, or one per task, as the machine's [Readings] say.
func (m *Machine) AddTask(spec TaskSpec) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tasks[strings.ToLower(spec.Path)] != nil {
		panic("model: task " + spec.Path + " exists")
	}
	if spec.LogonType == "" {
		spec.LogonType = "Password"
	}
	if spec.Descriptor == "" {
		spec.Descriptor = "D:P(A;;FA;;;BA)(A;;FA;;;SY)"
	}
	if spec.XML == "" {
		spec.XML = TaskXML(spec)
	}
	t := &task{TaskSpec: spec, lastResult: neverRun}
	m.tasks[strings.ToLower(spec.Path)] = t
	id := m.identify(m.principalOf(t).UserID)
	if !spec.Password.IsZero() {
		m.taskCreds[m.credentialKey(t, id)] = spec.Password.Clone()
	}
	for range spec.Running {
		t.instances = append(t.instances, m.spawn(id.sid, "task.exe", m.clock.Now()))
	}
}

// ConfigureTask changes a task in place.
func (m *Machine) ConfigureTask(path string, change func(t *TaskSpec)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tasks[strings.ToLower(path)]
	if t == nil {
		panic("model: no task " + path)
	}
	change(&t.TaskSpec)
}

// RemoveTask deletes a task.
func (m *Machine) RemoveTask(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tasks, strings.ToLower(path))
}

func (m *Machine) principalOf(t *task) Principal {
	p, err := TaskPrincipal(t.XML)
	if err != nil {
		return Principal{}
	}
	return p
}

func (m *Machine) credentialKey(t *task, id identity) string {
	if m.spec.Readings.CredentialPerTask {
		return "task " + strings.ToLower(t.Path)
	}
	return "account " + id.sid
}

// A Task is a task as the Task Scheduler shows it.
type Task struct {
	Path       string `json:"path"`
	Name       string `json:"name"`
	XML        string `json:"xml"`
	State      int    `json:"state"` // 1 disabled, 3 ready, 4 running
	LastResult uint32 `json:"lastResult"`
	Instances  []int  `json:"instances"` // process ids
	Descriptor string `json:"descriptor,omitempty"`
}

// Tasks lists all tasks by path, hidden ones too.
func (m *Machine) Tasks() ([]Task, error) {
	var all []Task
	err := m.call(func(time.Time) error {
		if m.faults.taskServiceDown {
			return TaskServiceMissingHR
		}
		for _, t := range m.tasksByPath() {
			all = append(all, showTask(t))
		}
		return nil
	})
	return all, err
}

func (m *Machine) tasksByPath() []*task {
	all := make([]*task, 0, len(m.tasks))
	for _, t := range m.tasks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *task) int { return comparePaths(a.Path, b.Path) })
	return all
}

// comparePaths orders tasks as a walk of the folders meets them: a folder's own
// tasks come before those of the folders in it.
func comparePaths(a, b string) int {
	as, bs := strings.Split(strings.ToLower(a), `\`), strings.Split(strings.ToLower(b), `\`)
	for n := range min(len(as), len(bs)) {
		aLast, bLast := n == len(as)-1, n == len(bs)-1
		switch {
		case aLast && !bLast:
			return -1
		case bLast && !aLast:
			return 1
		}
		if c := strings.Compare(as[n], bs[n]); c != 0 {
			return c
		}
	}
	return 0
}

func showTask(t *task) Task {
	v := Task{
		Path: t.Path, Name: t.Path[strings.LastIndex(t.Path, `\`)+1:], XML: t.XML, State: 3,
		LastResult: t.lastResult, Instances: append([]int{}, t.instances...), Descriptor: t.Descriptor,
	}
	switch {
	case len(t.instances) > 0:
		v.State = 4
	case t.Disabled:
		v.State = 1
	}
	return v
}

// A Registration is what RegisterTask is called with.
type Registration struct {
	Path      string
	XML       string
	Flags     int
	User      string
	Password  secret.Value
	LogonType int
}

// RegisterTask stores a task. A password is tried at once, and counts; the
// error is an [HResult].
func (m *Machine) RegisterTask(r Registration) error {
	return m.call(func(now time.Time) error {
		t := m.tasks[strings.ToLower(r.Path)]
		if hr := m.registrationFault(t, r); hr != 0 {
			return m.refuse(now, r.Path, hr)
		}
		id := m.identify(r.User)
		if id.class == unresolved || strings.HasPrefix(r.User, `.\`) {
			return m.refuse(now, r.Path, NoneMappedHR)
		}
		if r.LogonType == TaskLogonPassword || r.LogonType == TaskLogonInteractiveOrPassword {
			if hr := m.storeCredential(t, r, id); hr != 0 {
				return m.refuse(now, r.Path, hr)
			}
		} else if !r.Password.IsZero() {
			return m.refuse(now, r.Path, InvalidArgumentHR)
		}
		m.storeTask(t, r, id, now)
		return nil
	})
}

func (m *Machine) refuse(now time.Time, path string, hr HResult) error {
	m.record(now, TaskRefused, path, 0, uint32(hr))
	return hr
}

// registrationFault is why a registration fails before any password is looked at.
func (m *Machine) registrationFault(t *task, r Registration) HResult {
	_, err := TaskPrincipal(r.XML)
	switch {
	case m.faults.taskServiceDown:
		return TaskServiceMissingHR
	case err != nil:
		return MalformedXMLHR
	case t == nil && r.Flags&TaskCreate == 0:
		return NotFoundHR
	case t != nil && r.Flags&TaskUpdate == 0:
		return AlreadyExistsHR
	}
	if t != nil && len(t.Faults.RegisterCodes) > 0 {
		hr := t.Faults.RegisterCodes[0]
		t.Faults.RegisterCodes = t.Faults.RegisterCodes[1:]
		return hr
	}
	return 0
}

// storeCredential validates a password and keeps it. A missing batch right is
// not a failure of the registration (SCHED_S_BATCH_LOGON_PROBLEM).
func (m *Machine) storeCredential(t *task, r Registration, id identity) HResult {
	if m.faults.storageDisabled {
		return NoStoredPasswordHR
	}
	if code := m.logOnAs(id, r.Password, LogonBatch); code != OK && code != LogonTypeNotGranted {
		return code.HResult()
	}
	if t == nil {
		t = &task{TaskSpec: TaskSpec{Path: r.Path}}
	}
	m.taskCreds[m.credentialKey(t, id)] = r.Password.Clone()
	return 0
}

func (m *Machine) storeTask(t *task, r Registration, id identity, now time.Time) {
	if t == nil {
		t = &task{TaskSpec: TaskSpec{
			Path: r.Path, Descriptor: "D:", Registration: strings.Contains(r.XML, "<RegistrationTrigger>"),
		}, lastResult: neverRun}
		m.tasks[strings.ToLower(r.Path)] = t
	}
	t.XML = withPrincipal(r.XML, r.LogonType, r.User, func(old string) bool {
		return m.identify(old).sid == id.sid && (!m.spec.Readings.TaskUserRewritten || old == r.User)
	})
	if r.Flags&TaskDontAddPrincipalACE == 0 {
		t.Descriptor += "(A;;GR;;;" + id.sid + ")"
	}
	t.registered++
	m.record(now, TaskRegistered, t.Path, 140, 0)
	if t.Expired {
		delete(m.tasks, strings.ToLower(t.Path))
		return
	}
	if t.Registration && !t.Disabled && r.Flags&TaskIgnoreRegistrationTriggers == 0 {
		m.runTask(t, now)
	}
}

// RunTask runs a task with its stored credential and returns its last result.
func (m *Machine) RunTask(path string) (uint32, error) {
	var result uint32
	err := m.call(func(now time.Time) error {
		t := m.tasks[strings.ToLower(path)]
		if t == nil {
			return NotFoundHR
		}
		m.runTask(t, now)
		result = t.lastResult
		return nil
	})
	return result, err
}

// runTask starts an instance; in the model it has done its work at once.
func (m *Machine) runTask(t *task, now time.Time) {
	p := m.principalOf(t)
	id := m.identify(p.UserID)
	t.lastResult = 0
	if p.Stores() {
		if code := m.logOnAs(id, m.taskCreds[m.credentialKey(t, id)], LogonBatch); code != OK {
			t.lastResult = uint32(code.HResult())
			m.record(now, TaskFailed, t.Path, 101, t.lastResult)
			return
		}
	}
	t.runs++
	m.record(now, TaskStarted, t.Path, 100, 0)
}
