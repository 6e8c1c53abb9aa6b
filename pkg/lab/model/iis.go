package model

import (
	"slices"
	"strings"
	"time"

	"keyturn/pkg/secret"
)

// The kinds of what stores a password in IIS, as changes name them.
const (
	IISPool      = "iis_pool"
	IISDirectory = "iis_vdir"
	IISAnonymous = "iis_anon"
)

// Names of what others inherit from; none can be a pool's or a site's.
const (
	PoolDefaults      = "<applicationPoolDefaults>"
	DirectoryDefaults = "<virtualDirectoryDefaults>"
	AnonymousServer   = "<anonymousAuthentication>"
)

// A DirectorySpec describes a virtual directory that connects as somebody.
type DirectorySpec struct {
	Site, App, Path string // Shop, /, /files
	UserName        string
	Password        secret.Value
	Inherits        bool // user and password are virtualDirectoryDefaults'
}

// Name is the directory's name in changes: Shop/files.
func (d DirectorySpec) Name() string { return d.Site + strings.TrimRight(d.App, "/") + d.Path }

// An AnonymousSpec describes whom anonymous requests run as at a place.
type AnonymousSpec struct {
	Location  string // site, or site and path; "" is the whole server
	WebConfig bool   // stored in the web.config there, not in a location tag
	UserName  string
	Password  secret.Value
	Inherits  bool // it stores something else only: user and password are the server's
}

// Name is the place's name in changes: Shop/public, or Shop/web.config.
func (a AnonymousSpec) Name() string {
	switch {
	case a.Location == "":
		return AnonymousServer
	case a.WebConfig:
		return a.Location + "/web.config"
	default:
		return a.Location
	}
}

// iis is what IIS stores beside its pools.
type iis struct {
	poolDefaults      PoolSpec
	directoryDefaults DirectorySpec
	directories       []*DirectorySpec
	anonymous         []*AnonymousSpec
	shared            string // folder of the shared configuration; "" is the machine's own
}

// SetPoolDefaults sets whom pools run as that do not say so themselves.
func (m *Machine) SetPoolDefaults(user string, password secret.Value) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.iis.poolDefaults = PoolSpec{IdentityType: PoolSpecificUser, UserName: user, Password: password.Clone()}
}

// SetDirectoryDefaults sets whom virtual directories connect as that do not say
// so themselves.
func (m *Machine) SetDirectoryDefaults(user string, password secret.Value) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.iis.directoryDefaults = DirectorySpec{UserName: user, Password: password.Clone()}
}

// AddDirectory adds a virtual directory.
func (m *Machine) AddDirectory(spec DirectorySpec) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if spec.Inherits {
		spec.UserName, spec.Password = m.iis.directoryDefaults.UserName, m.iis.directoryDefaults.Password
	}
	spec.Password = spec.Password.Clone()
	m.iis.directories = append(m.iis.directories, &spec)
}

// AddAnonymous sets whom anonymous requests run as at a place.
func (m *Machine) AddAnonymous(spec AnonymousSpec) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if server := m.findAnonymous(AnonymousServer); spec.Inherits && server != nil {
		spec.UserName, spec.Password = server.UserName, server.Password
	}
	spec.Password = spec.Password.Clone()
	m.iis.anonymous = append(m.iis.anonymous, &spec)
}

// ShareConfiguration makes IIS take its configuration from a folder that other
// machines read too.
func (m *Machine) ShareConfiguration(folder string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.iis.shared = folder
}

// An IIS is the configuration of IIS beside its pools, passwords and all: IIS is
// the one store that reads back.
type IIS struct {
	Shared            string
	PoolDefaults      PoolSpec
	DirectoryDefaults DirectorySpec
	Directories       []DirectorySpec
	Anonymous         []AnonymousSpec
}

// IIS reads the configuration.
func (m *Machine) IIS() (IIS, error) {
	var v IIS
	err := m.call(func(time.Time) error {
		v = IIS{Shared: m.iis.shared, PoolDefaults: m.iis.poolDefaults, DirectoryDefaults: m.iis.directoryDefaults}
		v.PoolDefaults.Password = v.PoolDefaults.Password.Clone()
		v.DirectoryDefaults.Password = v.DirectoryDefaults.Password.Clone()
		for _, d := range m.iis.directories {
			c := *d
			c.Password = c.Password.Clone()
			v.Directories = append(v.Directories, c)
		}
		for _, a := range m.iis.anonymous {
			c := *a
			c.Password = c.Password.Clone()
			v.Anonymous = append(v.Anonymous, c)
		}
		return nil
	})
	return v, err
}

// An IISChange sets one stored password. An empty Kind is IISPool.
type IISChange struct {
	Kind, Name string
	Password   secret.Value
}

// CommitIIS writes the configuration once. Pools whose configuration really
// changed recycle, unless they disallow it; nothing else does.
func (m *Machine) CommitIIS(changes []IISChange) error {
	return m.call(func(now time.Time) error {
		if len(m.faults.commit) > 0 {
			hr := m.faults.commit[0]
			m.faults.commit = m.faults.commit[1:]
			return hr
		}
		for _, c := range changes {
			if !m.storesInIIS(c) {
				return NotFoundHR
			}
		}
		for _, c := range changes {
			m.changeIIS(c, now)
		}
		return nil
	})
}

func (m *Machine) storesInIIS(c IISChange) bool {
	switch c.Kind {
	case IISDirectory:
		return c.Name == DirectoryDefaults || m.findDirectory(c.Name) != nil
	case IISAnonymous:
		return m.findAnonymous(c.Name) != nil
	default:
		return c.Name == PoolDefaults || m.pools[strings.ToLower(c.Name)] != nil
	}
}

func (m *Machine) changeIIS(c IISChange, now time.Time) {
	switch c.Kind {
	case IISDirectory:
		m.changeDirectory(c)
	case IISAnonymous:
		m.changeAnonymous(c)
	default:
		m.changePools(c, now)
	}
}

// changePools changes a pool, or the defaults and every pool that inherits them.
// A pool that is given a password of its own inherits no more, even if it is the
// same.
func (m *Machine) changePools(c IISChange, now time.Time) {
	if c.Name != PoolDefaults {
		p := m.pools[strings.ToLower(c.Name)]
		p.Inherits = false
		if !p.Password.Equal(c.Password) {
			m.changePool(p, c.Password, now)
		}
		return
	}
	m.iis.poolDefaults.Password = c.Password.Clone()
	for _, p := range m.poolsByName() {
		if p.Inherits && !p.Password.Equal(c.Password) {
			m.changePool(p, c.Password, now)
		}
	}
}

func (m *Machine) changePool(p *pool, password secret.Value, now time.Time) {
	p.Password = password.Clone()
	m.record(now, PoolCommitted, p.Name, 0, 0)
	if !p.DisallowRotation && !m.faults.wasDown {
		m.rotate(p, now)
	}
}

func (m *Machine) changeDirectory(c IISChange) {
	if c.Name != DirectoryDefaults {
		d := m.findDirectory(c.Name)
		d.Inherits = false
		d.Password = c.Password.Clone()
		return
	}
	m.iis.directoryDefaults.Password = c.Password.Clone()
	for _, d := range m.iis.directories {
		if d.Inherits {
			d.Password = c.Password.Clone()
		}
	}
}

func (m *Machine) changeAnonymous(c IISChange) {
	a := m.findAnonymous(c.Name)
	a.Inherits = false
	a.Password = c.Password.Clone()
	if c.Name != AnonymousServer {
		return
	}
	for _, o := range m.iis.anonymous {
		if o.Inherits {
			o.Password = c.Password.Clone()
		}
	}
}

func (m *Machine) findDirectory(name string) *DirectorySpec {
	i := slices.IndexFunc(m.iis.directories, func(d *DirectorySpec) bool { return strings.EqualFold(d.Name(), name) })
	if i < 0 {
		return nil
	}
	return m.iis.directories[i]
}

func (m *Machine) findAnonymous(name string) *AnonymousSpec {
	i := slices.IndexFunc(m.iis.anonymous, func(a *AnonymousSpec) bool { return strings.EqualFold(a.Name(), name) })
	if i < 0 {
		return nil
	}
	return m.iis.anonymous[i]
}
