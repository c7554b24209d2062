"""The density explorer: the list of its pages."""

import streamlit as st

from pages.parts.page import init

init()
st.navigation(
    [
        st.Page("pages/explorer.py", title="Explorer", default=True),
        st.Page("pages/rare.py", title="Rare tokens"),
        st.Page("pages/context.py", title="Context"),
        st.Page("pages/compare.py", title="Compare"),
        st.Page("pages/corpus.py", title="Corpus"),
        st.Page("pages/findings.py", title="Findings"),
        st.Page("pages/history.py", title="History"),
        st.Page("pages/method.py", title="Method"),
    ]
).run()
