package app

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/performance/runtime"
	"github.com/stoaproject/stoa/reliability/registry"
)

// maxLoaded bounds the versions held in memory at once. Those that an alias names stay; of the others the one used
// longest ago goes first.
const maxLoaded = 32

// models keeps the versions that serve loaded, by digest, so that a request finds its model without reading a disk.
type models struct {
	reg *registry.Registry

	mu     sync.Mutex
	loaded map[string]*loading
	clock  int64
}

// A loading is a version in memory, or on its way there.
type loading struct {
	ready chan struct{} // closed when model or err is set
	model *runtime.Model
	err   error
	used  int64 // guarded by models.mu
}

// A served is a version that can answer.
type served struct {
	version stoa.Version
	model   *runtime.Model
}

func newModels(reg *registry.Registry) *models {
	return &models{reg: reg, loaded: map[string]*loading{}}
}

// at finds the version that ref (a number, an alias or a digest) names, and loads it when it is not in memory.
func (m *models) at(ctx context.Context, model, ref string) (*served, error) {
	v, err := m.reg.Version(ctx, model, ref)
	if err != nil {
		return nil, err
	}
	loaded, err := m.load(ctx, v)
	if err != nil {
		return nil, err
	}
	return &served{v, loaded}, nil
}

// load returns the model of v. Callers that come while it is loading wait for the one that loads.
func (m *models) load(ctx context.Context, v stoa.Version) (*runtime.Model, error) {
	m.mu.Lock()
	l, found := m.loaded[v.Digest]
	if !found {
		m.evict(ctx)
		l = &loading{ready: make(chan struct{})}
		m.loaded[v.Digest] = l
	}
	m.clock++
	l.used = m.clock
	m.mu.Unlock()

	if found {
		select {
		case <-l.ready:
			return l.model, l.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	// Others wait for the result: it must not depend on this caller staying.
	l.model, l.err = m.read(context.WithoutCancel(ctx), v)
	close(l.ready)
	if l.err != nil {
		m.mu.Lock()
		delete(m.loaded, v.Digest)
		m.mu.Unlock()
	}
	return l.model, l.err
}

func (m *models) read(ctx context.Context, v stoa.Version) (*runtime.Model, error) {
	raw, err := m.reg.Artifact(ctx, v)
	if err != nil {
		return nil, fmt.Errorf("reading %s version %d: %w", v.Model, v.Number, err)
	}
	model, err := runtime.Load(raw)
	if err != nil {
		return nil, fmt.Errorf("loading %s version %d: %w", v.Model, v.Number, err)
	}
	return model, nil
}

// evict makes room for one more version. Called with mu held.
func (m *models) evict(ctx context.Context) {
	if len(m.loaded) < maxLoaded {
		return
	}
	named := map[string]bool{}
	if all, err := m.reg.Models(ctx); err == nil {
		for _, one := range all {
			for _, number := range one.Aliases {
				if v, err := m.reg.Version(ctx, one.Name, strconv.Itoa(number)); err == nil {
					named[v.Digest] = true
				}
			}
		}
	}
	oldest := ""
	for digest, l := range m.loaded {
		if !named[digest] && (oldest == "" || l.used < m.loaded[oldest].used) {
			oldest = digest
		}
	}
	delete(m.loaded, oldest)
}

// infer runs s on a call.
func (s *served) infer(call *stoa.Call, target string, role stoa.Role) (*stoa.Answer, error) {
	began := now()
	outputs, err := s.model.Run(call.Inputs, call.Outputs)
	if err != nil {
		return nil, err
	}
	return &stoa.Answer{
		Target: target, Model: s.version.Model, Version: s.version.Number, Role: role,
		Outputs: outputs, Compute: now().Sub(began),
	}, nil
}
