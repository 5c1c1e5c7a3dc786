// Before anything is painted: light or dark as this browser chose last, else as the system says.
document.documentElement.dataset.theme = localStorage.getItem("nanobot.theme") ?? "system";
