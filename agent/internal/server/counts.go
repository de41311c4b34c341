package server

// Counts are a server's figures at one time.
type Counts struct {
	// Local and Network are the connections that stand.
	Local, Network int
	// Refused is how many handshakes over the network ended before there was a caller.
	Refused uint64
}

// Counts are those of now. It is safe for concurrent use.
func (s *Server) Counts() Counts {
	return Counts{Local: s.gate.count(), Network: s.network.count(), Refused: s.refused.Load()}
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}
