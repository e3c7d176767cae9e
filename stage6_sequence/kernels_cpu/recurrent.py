__all__=["rnn_states","rnn_gradient","lstm_states","lstm_gradient","gru_states","gru_gradient"]
def rnn_states(*a): return NotImplemented
rnn_gradient=lstm_states=lstm_gradient=gru_states=gru_gradient=rnn_states
