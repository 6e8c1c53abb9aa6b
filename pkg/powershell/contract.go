// Package powershell is the contract with the script that does the work on a
// Windows machine: the constant command line, the frame that carries script,
// request and secrets on standard input, and the lines that come back. It also
// embeds the script itself.
//
// It knows no transport and decides nothing; what the lines mean for a rotation
// is pkg/dependency's and pkg/rotator's business.
package powershell

import "time"

// An Op is a verb of the shipped script.
type Op string

// The verbs. No verb stops anything but OpRestart, which carries its plan.
const (
	OpPing     Op = "ping"               // hello and machine lines: what is there, who we are
	OpLook     Op = "look"               // inventory; changes nothing
	OpUpdate   Op = "update"             // proof by logon, then stored credentials; answers with a fresh look
	OpRestart  Op = "restart"            // no secret
	OpRepair   Op = "repair"             // start what a cut restart left stopped; no secret
	OpVerify   Op = "verify"             // one network logon
	OpPassword Op = "set_local_password" //nolint:gosec // a verb: change (old known) or reset
	OpUnlock   Op = "unlock"             // let a locked account log on again; no secret
)

// A Request is what the script is asked to do. It holds no secret: Secrets says
// at which index of the frame's third segment each one is.
type Request struct {
	V          int            `json:"v"` // 1
	Op         Op             `json:"op"`
	Run        string         `json:"run"`   // the job's UID: names the journal
	Nonce      string         `json:"nonce"` // hex, fresh for each call
	DeadlineMs int64          `json:"deadlineMs"`
	Journal    bool           `json:"journal"`
	Target     *Account       `json:"target,omitempty"` // a look without one is at everyone
	Kinds      []string       `json:"kinds,omitempty"`  // service, task, iis_pool, iis_vdir, iis_anon; look: report
	Secrets    map[string]int `json:"secrets,omitempty"`
	Items      []ItemRef      `json:"items,omitempty"` // update: these only; empty: nothing
	Policy     Policy         `json:"policy"`
	Plan       *Plan          `json:"plan,omitempty"`
}

// KindReport among the kinds of a look also asks for what is only reported: lines
// of the kinds process, com_plus, dcom, iis_shared and elsewhere.
const KindReport = "report"

// PoolDefaults is the id of the item iis_pool from which pools inherit whom they
// run as. No pool can have that name.
const PoolDefaults = "<applicationPoolDefaults>"

// Names of secrets in Request.Secrets.
const (
	SecretNew = "new"
	SecretOld = "old"
)

// An Account tells the script whom it is about. Empty SIDs ask it to resolve
// Names through the machine; the answer is in the account line.
type Account struct {
	SIDs        []string `json:"sids"`
	Names       []string `json:"names"` // all spellings, as DOMAIN\sam, user@domain, sam
	Sam         string   `json:"sam"`
	LogonUser   string   `json:"logonUser"`   // for LogonUserW
	LogonDomain string   `json:"logonDomain"` // "" (sent to LogonUserW as null) with a UPN
	TaskUser    string   `json:"taskUser"`    // DOMAIN\sam or MACHINE\sam; "" lets the script build it
}

// An ItemRef names a dependency and the run-as string it was seen with; a
// different one now is run_as_changed, and the item is left alone.
type ItemRef struct {
	Kind        string `json:"kind"`
	ID          string `json:"id"`
	ExpectRunAs string `json:"expectRunAs"`
}

// A Policy limits what the script may do.
type Policy struct {
	Proof      string `json:"proof,omitempty"`      // "required": no write unless LogonUser accepts the password
	AllowReset bool   `json:"allowReset,omitempty"` // set_local_password without the old one
	// GrantRights has update give the account the right to log on as a service or
	// batch job where a proof shows that it lacks it.
	GrantRights bool `json:"grantRights,omitempty"`
}

// A Plan is a restart plan in the script's words.
type Plan struct {
	Stops          []PlanStop    `json:"stops"`
	Starts         []PlanStart   `json:"starts"`
	Recycles       []PlanRecycle `json:"recycles"`
	StopTimeoutMs  int64         `json:"stopTimeoutMs"`
	StartTimeoutMs int64         `json:"startTimeoutMs"`
	SettleMs       int64         `json:"settleMs"`
	// OnStopTimeout says what becomes of a service that does not stop: "" reports
	// it, [KillOwnProcess] ends its process if it has one to itself.
	OnStopTimeout string `json:"onStopTimeout,omitempty"`
}

// KillOwnProcess is a value of Plan.OnStopTimeout.
const KillOwnProcess = "kill_own_process"

// A PlanStop stops a service that is still the process that was seen. Started
// is RFC 3339 with the seconds of the process' start, as the look line gave it,
// or "" when unknown; it compares as text.
type PlanStop struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	PID     int    `json:"pid"`
	Started string `json:"started"`
}

// A PlanStart starts a service; Pause pauses it again once it runs.
type PlanStart struct {
	ID    string `json:"id"`
	Pause bool   `json:"pause"`
}

// A PlanRecycle recycles a pool whose workers are still these.
type PlanRecycle struct {
	ID      string `json:"id"`
	Workers []int  `json:"workers"`
}

// A Line is one line of the script's answer: "#WSX " and ASCII JSON. T says
// which of the other fields are in use. Lines without the request's nonce are
// noise.
type Line struct {
	T string `json:"t"` // hello, machine, account, proof, item, fact, fatal, bye
	N string `json:"n"` // nonce

	// hello
	V        int    `json:"v,omitempty"`
	Run      string `json:"run,omitempty"`
	Host     string `json:"host,omitempty"`
	PS       string `json:"ps,omitempty"`
	OS       string `json:"os,omitempty"`
	Lang     string `json:"lang,omitempty"`
	Elevated bool   `json:"elevated,omitempty"`
	IIS      bool   `json:"iis,omitempty"`
	Cluster  bool   `json:"cluster,omitempty"`

	// machine: identity and policies
	GUID             string `json:"guid,omitempty"`
	Domain           string `json:"domain,omitempty"` // NetBIOS name of the primary domain; "" in a workgroup
	DC               bool   `json:"dc,omitempty"`     // a domain controller: local accounts are the domain's
	User             string `json:"user,omitempty"`   // who we are logged in as
	UserSID          string `json:"userSid,omitempty"`
	StorageDisabled  bool   `json:"storageDisabled,omitempty"`  // Lsa\DisableDomainCreds=1: tasks cannot store passwords
	LockoutThreshold *int   `json:"lockoutThreshold,omitempty"` // null: not known; 0: no lockout

	// account: the target as this machine resolves it
	SID          string `json:"sid,omitempty"`
	Sam          string `json:"sam,omitempty"`
	Name         string `json:"name,omitempty"`  // DOMAIN\sam as LSA spells it
	Class        string `json:"class,omitempty"` // user, builtin, virtual, managed, unresolved; or the error class of fatal
	Scope        string `json:"scope,omitempty"` // domain or local
	Disabled     bool   `json:"disabled,omitempty"`
	Locked       bool   `json:"locked,omitempty"`
	MustChange   bool   `json:"mustChange,omitempty"`
	BadCount     int    `json:"badCount,omitempty"`     // wrong passwords counted against the lockout
	StatusKnown  bool   `json:"statusKnown,omitempty"`  // disabled, locked, mustChange and badCount were read
	SelfRotation bool   `json:"selfRotation,omitempty"` // the target is who we are logged in as

	// proof
	Type       int  `json:"type,omitempty"` // LogonUser type: 3 network, 4 batch, 5 service
	Code       int  `json:"code"`           // of proof, or exit code of bye
	PasswordOK bool `json:"passwordOk,omitempty"`
	Granted    bool `json:"granted,omitempty"`

	// item
	Phase     string     `json:"phase,omitempty"` // look, update, stop, start, restart, recycle, repair, set, unlock
	Kind      string     `json:"kind,omitempty"`
	ID        string     `json:"id,omitempty"`
	Status    string     `json:"status,omitempty"`
	Display   string     `json:"display,omitempty"`
	RunAs     string     `json:"runAs,omitempty"`
	Match     *Match     `json:"match,omitempty"`
	State     string     `json:"state,omitempty"`
	StartMode string     `json:"startMode,omitempty"` // services: Auto, Manual, Disabled
	PID       int        `json:"pid,omitempty"`
	Started   string     `json:"started,omitempty"` // RFC 3339, UTC, whole seconds
	CanStop   bool       `json:"canStop,omitempty"`
	CanPause  bool       `json:"canPause,omitempty"`
	Own       bool       `json:"own,omitempty"`        // SERVICE_WIN32_OWN_PROCESS
	Depends   []string   `json:"dependsOn,omitempty"`  // names this service needs
	Children  []string   `json:"dependents,omitempty"` // names that need this service
	LogonType string     `json:"logonType,omitempty"`  // tasks: the XML word; pools: LogonBatch or LogonService
	Stores    bool       `json:"stores,omitempty"`     // tasks: a password is stored
	Workers   []int      `json:"workers,omitempty"`    // pools: process ids
	Clustered bool       `json:"clustered,omitempty"`
	Warn      []string   `json:"warn,omitempty"` // tasks: the Warn words
	Before    *ItemState `json:"before,omitempty"`
	After     *ItemState `json:"after,omitempty"`
	Reason    string     `json:"reason,omitempty"` // of noop and skipped
	Err       *Err       `json:"err,omitempty"`

	// fact: what another script than the shipped one found out, under ID
	Value string `json:"value,omitempty"`

	// fatal: Class and Err; transport_* comes before the nonce is known, without N
	Got  int `json:"got,omitempty"`
	Want int `json:"want,omitempty"`

	// bye
	Counts map[string]int `json:"counts,omitempty"`
	Ms     int64          `json:"ms,omitempty"`
}

// Words of Line.Warn: what registering a task again may bring about.
const (
	WarnDeletesItself  = "deletes_when_expired" // it has DeleteExpiredTaskAfter: it may be gone afterwards
	WarnRunsWhenMissed = "runs_when_missed"     // it has StartWhenAvailable: it may run soon afterwards
)

// A Match says whether an item runs as the target, and how that was decided. In
// a look at everyone a hit is an account with a password, or one that is not
// known here, and the match says which: SID, Name and Scope.
type Match struct {
	Hit       bool   `json:"hit"`
	By        string `json:"by"`    // sid, name, none
	Class     string `json:"class"` // of the run-as identity
	Ambiguous bool   `json:"ambiguous,omitempty"`
	Namesake  bool   `json:"namesake,omitempty"` // another account, by its SID, with the target's sam
	SID       string `json:"sid,omitempty"`
	Name      string `json:"name,omitempty"`  // DOMAIN\sam as LSA spells it
	Scope     string `json:"scope,omitempty"` // domain, local or entra
}

// An ItemState is the state of an item before or after.
type ItemState struct {
	RunAs     string `json:"runAs,omitempty"`
	State     string `json:"state,omitempty"`
	StartMode string `json:"startMode,omitempty"`
	PID       int    `json:"pid,omitempty"`
	Started   string `json:"started,omitempty"`
}

// An Err is an error of the target, with its class (spec'd list in classes.go).
type Err struct {
	Class   string `json:"class"`
	Native  int64  `json:"native,omitempty"`
	HResult string `json:"hresult,omitempty"`
	Type    string `json:"type,omitempty"`
	Msg     string `json:"msg,omitempty"`
}

// Codes of the bye line.
const (
	ByeOK        = 0
	ByePartial   = 10
	ByeNothing   = 11
	ByeTransport = 97
	ByePreflight = 98
	ByeInternal  = 99
)

// Default times of a restart.
const (
	StopTimeout  = 90 * time.Second
	StartTimeout = 120 * time.Second
	Settle       = 5 * time.Second
)
