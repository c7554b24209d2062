// The page's heatmap removes the first view when it is drawn (assets/heatmap). Where something else comes instead, a
// message, or nothing at all for a long time, it gives way to that.
{
  const view = document.getElementById("first-view");
  const giveWay = () => {
    watch.disconnect();
    view.remove();
  };
  const watch = new MutationObserver(() => {
    if (!view.isConnected || document.querySelector("[data-testid=stAlert], [data-testid=stDialog]")) giveWay();
  });
  watch.observe(document.getElementById("root"), { childList: true, subtree: true });
  setTimeout(giveWay, 20_000);
}
