package ctl

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// drift compares what hosts run and have recorded for services of one name.
type drift struct {
	services map[string]*spread
}

// spread is how one service differs among hosts.
type spread struct {
	hosts     int
	artifacts variants // what the active generations run
	specs     variants // what is recorded, without the artifact
}

// variants are what hosts have, in the order in which it was first seen.
type variants []*variant

type variant struct {
	key   string
	spec  *pb.ServiceSpec
	hosts []string
}

// add takes in a host's service. Of specifications one of each is kept, however many
// hosts there are.
func (d *drift) add(host string, st *pb.ServiceStatus) {
	if d.services == nil {
		d.services = map[string]*spread{}
	}
	name := st.GetService().GetName()
	of, ok := d.services[name]
	if !ok {
		of = &spread{}
		d.services[name] = of
	}
	of.hosts++
	of.artifacts.add(host, generation(st, st.GetService().GetActiveGeneration()).GetArtifact(), nil)
	spec, _ := proto.Clone(st.GetService().GetSpec()).(*pb.ServiceSpec)
	if spec == nil {
		spec = &pb.ServiceSpec{}
	}
	spec.Artifact = ""
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err == nil { // it came as a message
		of.specs.add(host, string(key), spec)
	}
}

func (v *variants) add(host, key string, spec *pb.ServiceSpec) {
	i := slices.IndexFunc(*v, func(known *variant) bool { return known.key == key })
	if i < 0 {
		i = len(*v)
		*v = append(*v, &variant{key: key, spec: spec})
	}
	(*v)[i].hosts = append((*v)[i].hosts, host)
}

// most is what most hosts have; of several the first.
func (v variants) most() *variant {
	return slices.MaxFunc(v, func(a, b *variant) int { return cmp.Compare(len(a.hosts), len(b.hosts)) })
}

// deviation is a host's service that is not as on most hosts.
type deviation struct {
	service, host  string
	artifact, most string   // what runs here, and on most hosts; equal when that is no difference
	mostHosts      int      // how many those are
	hosts          int      // how many have the service
	fields         []string // of the recorded specification
}

// deviations are all of them, by service and host.
func (d *drift) deviations() []deviation {
	var all []deviation
	for _, name := range slices.Sorted(maps.Keys(d.services)) {
		all = append(all, d.services[name].deviations(name)...)
	}
	return all
}

func (s *spread) deviations(service string) []deviation {
	run, recorded := s.artifacts.most(), s.specs.most()
	found := map[string]*deviation{}
	at := func(host string) *deviation {
		if found[host] == nil {
			found[host] = &deviation{service: service, host: host, artifact: run.key, most: run.key, mostHosts: len(run.hosts), hosts: s.hosts}
		}
		return found[host]
	}
	for _, v := range s.artifacts {
		for _, host := range v.hosts {
			if v != run {
				at(host).artifact = v.key
			}
		}
	}
	for _, v := range s.specs {
		fields := unlike(v.spec, recorded.spec)
		for _, host := range v.hosts {
			if v != recorded {
				at(host).fields = fields
			}
		}
	}
	var all []deviation
	for _, host := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[host])
	}
	return all
}

// unlike names the fields in which two specifications differ.
func unlike(a, b *pb.ServiceSpec) []string {
	var names []string
	x, y := a.ProtoReflect(), b.ProtoReflect()
	for i := range x.Descriptor().Fields().Len() {
		f := x.Descriptor().Fields().Get(i)
		if x.Has(f) != y.Has(f) || !x.Get(f).Equal(y.Get(f)) {
			names = append(names, f.TextName())
		}
	}
	return names
}

func (d deviation) object() object {
	return object{
		{"service", d.service},
		{"host", d.host},
		{"artifact", d.artifact},
		{"mostArtifact", d.most},
		{"mostHosts", d.mostHosts},
		{"ofHosts", d.hosts},
		{"fields", append([]string{}, d.fields...)},
	}
}
