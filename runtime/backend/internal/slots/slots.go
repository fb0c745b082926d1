// Package slots limits how many calls an instance handles at once, and queues the calls that find all instances busy.
// The backends whose instances share a process use it.
//
// An instance has a number of [Slots]. A call acquires a free slot, round-robin over the instances of its service. If
// there is none, it can wait in the service's queue and is assigned the next slot that becomes free.
//
// Nothing here is safe for concurrent use: the owner of [Services] holds a lock during every method.
package slots

import (
	"container/list"
	"slices"
)

// Slots counts the slots of one instance, which embeds it. To release a slot, decrement InUse and, unless the instance
// was removed, call [Service.Dispatch].
type Slots struct {
	Max, InUse int
}

// Acquire acquires a slot and reports whether one was free.
func (s *Slots) Acquire() bool {
	if s.InUse >= s.Max {
		return false
	}
	s.InUse++
	return true
}

// An Instance is a pointer to a type that embeds Slots.
type Instance interface {
	comparable
	Acquire() bool // implemented by Slots
}

// A Waiter is a queued call.
type Waiter[I any] interface {
	// Assign gives the call a slot of instance in, already acquired. The call is no longer queued. Assign must not block.
	Assign(in I)
}

// Services holds the services that have instances, by name.
type Services[I Instance, W Waiter[I]] map[string]*Service[I, W]

// Add adds an instance to a service and dispatches queued calls to it.
func (s Services[I, W]) Add(name string, in I) {
	svc := s[name]
	if svc == nil {
		svc = &Service[I, W]{}
		s[name] = svc
	}
	svc.instances = append(svc.instances, in)
	svc.Dispatch()
}

// Remove removes an instance. If it was the last one of its service, Remove deletes the service and returns its queued
// calls, oldest first.
func (s Services[I, W]) Remove(name string, in I) []W {
	svc := s[name]
	svc.instances = slices.DeleteFunc(svc.instances, func(other I) bool { return other == in })
	if len(svc.instances) > 0 {
		return nil
	}
	delete(s, name)
	var rest []W
	for svc.waiting.Len() > 0 {
		rest = append(rest, svc.waiting.Remove(svc.waiting.Front()).(W))
	}
	return rest
}

// A Service is the instances of one service and its queue of calls.
type Service[I Instance, W Waiter[I]] struct {
	instances []I
	next      int       // index of the instance to try first
	waiting   list.List // of W, oldest first
}

// Instances returns the instances. The caller must not modify the slice.
func (svc *Service[I, W]) Instances() []I { return svc.instances }

// Acquire acquires a slot, round-robin, and returns its instance, or nil if all are busy.
func (svc *Service[I, W]) Acquire() I {
	for range svc.instances {
		in := svc.instances[svc.next%len(svc.instances)]
		svc.next = (svc.next + 1) % len(svc.instances)
		if in.Acquire() {
			return in
		}
	}
	var none I
	return none
}

// Enqueue appends a call to the queue and returns its element for Dequeue.
func (svc *Service[I, W]) Enqueue(w W) *list.Element { return svc.waiting.PushBack(w) }

// Dequeue removes a call from the queue. It does nothing if the call has been removed.
func (svc *Service[I, W]) Dequeue(e *list.Element) { svc.waiting.Remove(e) }

// Waiting returns the number of queued calls.
func (svc *Service[I, W]) Waiting() int { return svc.waiting.Len() }

// Dispatch assigns free slots to queued calls. Call it whenever slots may have become free.
func (svc *Service[I, W]) Dispatch() {
	var none I
	for svc.waiting.Len() > 0 {
		in := svc.Acquire()
		if in == none {
			return
		}
		svc.waiting.Remove(svc.waiting.Front()).(W).Assign(in)
	}
}
