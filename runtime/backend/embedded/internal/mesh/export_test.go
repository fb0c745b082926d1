package mesh

import "net"

// Bare returns a Mesh that doesn't listen, and so lives in a bubble of testing/synctest, where sockets don't work.
func Bare(o Options) *Mesh { return newMesh(o) }

// Join connects two of them: m dials other.
func Join(m, other *Mesh, here, there net.Conn) error {
	welcomed := make(chan error, 1)
	go func() { welcomed <- run(other, func() (*link, error) { return other.welcome(other.ctx, there) }) }()
	if err := run(m, func() (*link, error) { return m.greet(m.ctx, here, other.address) }); err != nil {
		return err
	}
	return <-welcomed
}

func run(m *Mesh, meet func() (*link, error)) error {
	l, err := meet()
	if err != nil {
		return err
	}
	m.add(l)
	m.begin(l.run)
	return nil
}
