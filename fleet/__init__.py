"""The pure core: model, configuration, rules, reasons, errors, events. It acts on nothing."""
