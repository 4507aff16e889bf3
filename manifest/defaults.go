package manifest

import "reflect"

// fill fills in what a file may leave out and no single key's default can say:
//
//   - an endpoint without targets is answered by the champion of the model that has the endpoint's name;
//   - a fallback on a model without a version asks its champion;
//   - every model whose data set has a target is monitored;
//   - every model has a rollout.
//
// All other defaults are in the check tags of the types.
func fill(w *Workload) {
	for name, e := range w.Endpoints {
		if len(e.Targets) == 0 && w.Models[name] != nil {
			target := section[EndpointTarget]()
			target.Model = name
			e.Targets = []*EndpointTarget{target}
		}
		for _, f := range e.Fallback {
			if f.Model != "" && f.Version == "" {
				f.Version = "champion"
			}
		}
	}
	if w.Operations.Monitor == nil {
		w.Operations.Monitor = make(map[string]*Monitor)
	}
	if w.Operations.Rollout == nil {
		w.Operations.Rollout = make(map[string]*Rollout)
	}
	for name := range w.Models {
		if data := w.DataOf(name); w.Operations.Monitor[name] == nil && data != nil && data.Target != nil {
			w.Operations.Monitor[name] = section[Monitor]()
		}
		if w.Operations.Rollout[name] == nil {
			w.Operations.Rollout[name] = section[Rollout]()
		}
	}
}

// section returns a section in which nothing is written.
func section[T any]() *T {
	s := new(T)
	initialise(reflect.ValueOf(s).Elem())
	return s
}

// DataOf returns the data set of a model, or nil when the model or its data set does not exist.
func (w *Workload) DataOf(model string) *Data {
	m := w.Models[model]
	if m == nil || m.Data == "" {
		return nil
	}
	return w.Data[m.Data]
}
