#pragma once
// Version, licence, and the works of others in the program and its packages, as
// resources/third_party.json lists them. The same file feeds the packages' bills of materials.

#include <QDialog>

namespace hs {

class AboutDialog : public QDialog {
    Q_OBJECT

public:
    explicit AboutDialog(QWidget* parent);
};

} // namespace hs
