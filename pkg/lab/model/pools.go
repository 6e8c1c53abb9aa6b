package model

import (
	"slices"
	"strings"
	"time"

	"keyturn/pkg/secret"
)

// Identity types of application pools.
const (
	PoolLocalSystem     = 0
	PoolLocalService    = 1
	PoolNetworkService  = 2
	PoolSpecificUser    = 3
	PoolIdentityVirtual = 4
)

// A PoolSpec describes an application pool of IIS.
type PoolSpec struct {
	Name             string
	IdentityType     int
	UserName         string
	Password         secret.Value
	LogonService     bool // logonType LogonService; LogonBatch is the default
	Stopped          bool
	Workers          int // worker processes that run
	AlwaysRunning    bool
	DisallowRotation bool  // disallowRotationOnConfigChange
	WorkerCode       Errno // what its new workers fail with, although the password is right
	Inherits         bool  // identity and password are applicationPoolDefaults'
}

// workerImage is the image of a worker process.
const workerImage = "w3wp.exe"

type pool struct {
	PoolSpec
	workers  []int
	recycles int
}

// AddPool adds an application pool.
func (m *Machine) AddPool(spec PoolSpec) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pools[strings.ToLower(spec.Name)] != nil {
		panic("model: pool " + spec.Name + " exists")
	}
	if d := m.iis.poolDefaults; spec.Inherits {
		spec.IdentityType, spec.UserName, spec.Password = d.IdentityType, d.UserName, d.Password
	}
	spec.Password = spec.Password.Clone()
	p := &pool{PoolSpec: spec}
	m.pools[strings.ToLower(spec.Name)] = p
	for range spec.Workers {
		p.workers = append(p.workers, m.spawn(m.poolIdentity(p).sid, workerImage, m.clock.Now()))
	}
}

// ConfigurePool changes a pool in place.
func (m *Machine) ConfigurePool(name string, change func(p *PoolSpec)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[strings.ToLower(name)]
	if p == nil {
		panic("model: no pool " + name)
	}
	old := p.Password
	change(&p.PoolSpec)
	if !p.Password.Equal(old) {
		p.Password = p.Password.Clone()
	}
}

// RemovePool deletes a pool.
func (m *Machine) RemovePool(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pools, strings.ToLower(name))
}

// A Pool is a pool as Microsoft.Web.Administration shows it.
type Pool struct {
	Name             string
	IdentityType     int
	UserName         string
	Password         secret.Value // IIS is the one store that reads back
	LogonType        string
	State            string // Started, Stopped, or "" when WAS does not answer
	Workers          []int
	DisallowRotation bool
	AlwaysRunning    bool
}

// Pools lists all application pools by name; none without IIS.
func (m *Machine) Pools() ([]Pool, error) {
	var all []Pool
	err := m.call(func(time.Time) error {
		for _, p := range m.poolsByName() {
			all = append(all, m.showPool(p))
		}
		return nil
	})
	return all, err
}

func (m *Machine) poolsByName() []*pool {
	all := make([]*pool, 0, len(m.pools))
	for _, p := range m.pools {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pool) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return all
}

func (m *Machine) showPool(p *pool) Pool {
	v := Pool{
		Name: p.Name, IdentityType: p.IdentityType, UserName: p.UserName, Password: p.Password.Clone(),
		LogonType: "LogonBatch", State: "Started", Workers: append([]int{}, p.workers...), DisallowRotation: p.DisallowRotation,
		AlwaysRunning: p.AlwaysRunning,
	}
	if p.LogonService {
		v.LogonType = "LogonService"
	}
	if p.Stopped {
		v.State = "Stopped"
	}
	if m.faults.wasDown {
		v.State = ""
	}
	return v
}

// RecyclePool replaces the workers of a started pool; 0x80070426 when it is stopped.
func (m *Machine) RecyclePool(name string) error {
	return m.call(func(now time.Time) error {
		p := m.pools[strings.ToLower(name)]
		switch {
		case p == nil:
			return NotFoundHR
		case p.Stopped || m.faults.wasDown:
			return NotActiveHR
		}
		m.rotate(p, now)
		return nil
	})
}

// rotate starts new workers beside the old ones, which then end. A worker that
// cannot log on stops the pool: WAS reports 5021 for each try, then 5059.
func (m *Machine) rotate(p *pool, now time.Time) {
	want := len(p.workers)
	if p.AlwaysRunning {
		want = max(want, 1)
	}
	if p.Stopped || want == 0 {
		return
	}
	id := m.poolIdentity(p)
	typ := LogonBatch
	if p.LogonService {
		typ = LogonService
	}
	code := m.logOnAs(id, p.Password, typ)
	if code == OK {
		code = p.WorkerCode
	}
	if code != OK {
		m.dropWorkers(p)
		p.Stopped = true
		m.record(now, LogonFailed, p.UserName, 5021, uint32(code))
		m.record(now, PoolStopped, p.Name, 5059, uint32(code))
		return
	}
	m.dropWorkers(p)
	for range want {
		p.workers = append(p.workers, m.spawn(id.sid, workerImage, now))
	}
	p.recycles++
	m.record(now, PoolRecycled, p.Name, 0, 0)
}

func (m *Machine) dropWorkers(p *pool) {
	for _, pid := range p.workers {
		delete(m.processes, pid)
	}
	p.workers = nil
}

func (m *Machine) poolIdentity(p *pool) identity {
	switch p.IdentityType {
	case PoolLocalSystem:
		return m.identify("LocalSystem")
	case PoolLocalService:
		return m.identify("S-1-5-19")
	case PoolNetworkService:
		return m.identify("S-1-5-20")
	case PoolIdentityVirtual:
		return m.identify(`IIS APPPOOL\` + p.Name)
	default:
		return m.identify(p.UserName)
	}
}
