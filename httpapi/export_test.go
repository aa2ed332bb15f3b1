package httpapi

// FramesInHand is how many bytes of frames the budget counts now.
func (s *Server) FramesInHand() int64 {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return maxFrameBytes - s.budget.left
}

// DataPaths is how many clusters' data paths are kept.
func (s *Server) DataPaths() int {
	s.paths.mu.Lock()
	defer s.paths.mu.Unlock()
	return len(s.paths.known)
}
