// Package slots gives calls to the instances of their service: the part of a Calls port that is the same wherever the
// instances are in this process.
//
// An instance has a number of [Slots]. A call takes a free one, of the instances in turn; where there is none it may stand in
// the line of its service, and is given the first that becomes free. Nothing here is safe for concurrent use: who keeps
// [Services] has a lock for them, and holds it during every method.
package slots

import (
	"container/list"
	"slices"
)

// Slots are those of one instance, which embeds them. Taken is how many are taken; who gives one back lowers it and, unless
// the instance has left, calls [Service.Serve].
type Slots struct {
	Most, Taken int
}

// Take takes a slot, and says whether there was a free one.
func (s *Slots) Take() bool {
	if s.Taken >= s.Most {
		return false
	}
	s.Taken++
	return true
}

// An Instance is a pointer to what embeds Slots.
type Instance interface {
	comparable
	Take() bool // as Slots does
}

// A Waiter is a call in a line.
type Waiter[I any] interface {
	// Give gives the call an instance with a slot taken. It has left the line. Give must not block.
	Give(in I)
}

// Services are the services that have instances, by name.
type Services[I Instance, W Waiter[I]] map[string]*Service[I, W]

// Join adds an instance, which serves the line at once.
func (s Services[I, W]) Join(name string, in I) {
	svc := s[name]
	if svc == nil {
		svc = &Service[I, W]{}
		s[name] = svc
	}
	svc.instances = append(svc.instances, in)
	svc.Serve()
}

// Leave takes an instance out. With the last one its service ends: Leave returns those who stood in its line, oldest first.
func (s Services[I, W]) Leave(name string, in I) []W {
	svc := s[name]
	svc.instances = slices.DeleteFunc(svc.instances, func(other I) bool { return other == in })
	if len(svc.instances) > 0 {
		return nil
	}
	delete(s, name)
	var rest []W
	for svc.line.Len() > 0 {
		rest = append(rest, svc.line.Remove(svc.line.Front()).(W))
	}
	return rest
}

// A Service is the instances of one name, and its line.
type Service[I Instance, W Waiter[I]] struct {
	instances []I
	next      int       // where the round goes on
	line      list.List // of W, oldest first
}

// Instances returns the instances, which the caller must not change.
func (svc *Service[I, W]) Instances() []I { return svc.instances }

// Take takes a slot of the next instance that has one, in turn. It returns nil where there is none.
func (svc *Service[I, W]) Take() I {
	for range svc.instances {
		in := svc.instances[svc.next%len(svc.instances)]
		svc.next = (svc.next + 1) % len(svc.instances)
		if in.Take() {
			return in
		}
	}
	var none I
	return none
}

// Wait puts a call at the end of the line, and returns its place for Withdraw.
func (svc *Service[I, W]) Wait(w W) *list.Element { return svc.line.PushBack(w) }

// Withdraw takes a call out of the line, if it is still there.
func (svc *Service[I, W]) Withdraw(place *list.Element) { svc.line.Remove(place) }

// Waiting is how many calls stand in line.
func (svc *Service[I, W]) Waiting() int { return svc.line.Len() }

// Serve gives free slots to those in line. It is to be called whenever slots may have become free.
func (svc *Service[I, W]) Serve() {
	var none I
	for svc.line.Len() > 0 {
		in := svc.Take()
		if in == none {
			return
		}
		svc.line.Remove(svc.line.Front()).(W).Give(in)
	}
}
