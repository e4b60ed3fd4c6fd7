#pragma once
// The four terms of memory as one bar against what the machine has free: weights, growing cache,
// fixed state, snapshots. Pattern and words beside each colour.

#include "app/bridge/estimates.h"

#include <QWidget>

namespace hs {

class MemoryBar : public QWidget {
    Q_OBJECT

public:
    explicit MemoryBar(QWidget* parent = nullptr);

    void set_estimate(const MemoryEstimate& estimate, std::int64_t available_bytes);
    QSize sizeHint() const override;
    QSize minimumSizeHint() const override { return sizeHint(); }

protected:
    void paintEvent(QPaintEvent* event) override;

private:
    MemoryEstimate m_estimate;
    std::int64_t m_available = 0;
};

} // namespace hs
