//! Sessions.

use sharehold::Manager;

use super::{Operation, begin, board, connect, end, no_rest, nothing, use_board};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "leave",
        perform: |broker, _| {
            let manager = connect(broker);
            drop(board(&manager));
            begin();
            drop(manager);
            end();
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
    Operation {
        name: "attach",
        perform: |broker, _| {
            begin();
            let manager = Manager::connect(broker);
            end();
            manager.expect("connected");
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
];
