package dependency

import (
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// States of a service, as Windows names them.
const (
	stateRunning = "Running"
	statePaused  = "Paused"
	stateStopped = "Stopped"
	stateStarted = "Started" // of a pool
	stateUnknown = "unknown"
	modeDisabled = "Disabled"
)

// fold makes service names comparable: Windows compares them without case.
func fold(name string) string { return strings.ToUpper(name) }

// active reports whether a service has to be stopped before it takes a new
// password: what is inactive stays so.
func active(i Item) bool { return i.State == stateRunning || i.State == statePaused }

// A graph is the services of one inventory and who needs whom. Services are
// numbered in the order of their folded names, so that everything that walks
// the graph is deterministic.
type graph struct {
	services []Item
	index    map[string]int // by folded name
	needs    [][]int        // antecedents, sorted
	neededBy [][]int        // dependents, sorted
	unseen   []string       // a dependent the inventory names and does not hold, by service
}

// newGraph reads both ends of every edge: a look may tell only one of them.
// Names that fold together are one service, the first that was seen.
func newGraph(items []Item) *graph {
	g := &graph{index: map[string]int{}}
	for _, i := range items {
		if i.Kind == pam.KindService {
			g.services = append(g.services, i)
		}
	}
	byName := func(a, b Item) int { return strings.Compare(fold(a.Name), fold(b.Name)) }
	slices.SortStableFunc(g.services, byName)
	g.services = slices.CompactFunc(g.services, func(a, b Item) bool { return byName(a, b) == 0 })
	for n, s := range g.services {
		g.index[fold(s.Name)] = n
	}
	g.needs = make([][]int, len(g.services))
	g.neededBy = make([][]int, len(g.services))
	g.unseen = make([]string, len(g.services))
	g.link()
	return g
}

func (g *graph) link() {
	edge := func(dependent, antecedent int) {
		if dependent != antecedent {
			g.needs[dependent] = append(g.needs[dependent], antecedent)
			g.neededBy[antecedent] = append(g.neededBy[antecedent], dependent)
		}
	}
	for n, s := range g.services {
		for _, name := range s.DependsOn {
			if a, ok := g.index[fold(name)]; ok {
				edge(n, a)
			}
		}
		for _, name := range s.Dependents {
			if d, ok := g.index[fold(name)]; ok {
				edge(d, n)
			} else if g.unseen[n] == "" || name < g.unseen[n] {
				g.unseen[n] = name
			}
		}
	}
	for n := range g.services {
		slices.Sort(g.needs[n])
		g.needs[n] = slices.Compact(g.needs[n])
		slices.Sort(g.neededBy[n])
		g.neededBy[n] = slices.Compact(g.neededBy[n])
	}
}

// startOrder is every service, antecedents first. Services of a cycle, which
// Windows does not allow but a machine may claim, come by name.
func (g *graph) startOrder() []int {
	order := make([]int, 0, len(g.services))
	seen := make([]bool, len(g.services))
	var visit func(n int)
	visit = func(n int) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, a := range g.needs[n] {
			visit(a)
		}
		order = append(order, n)
	}
	for n := range g.services {
		visit(n)
	}
	return order
}

// spread marks what is reachable from the marked services over next.
func spread(marked []bool, next [][]int) {
	var queue []int
	for n, m := range marked {
		if m {
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, m := range next[n] {
			if !marked[m] {
				marked[m] = true
				queue = append(queue, m)
			}
		}
	}
}
