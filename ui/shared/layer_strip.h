#pragma once
// One cell per layer: its kind (letter, pattern, colour) and its bytes, filling as the context
// grows. The program's signature; the same widget stands in Chat, Compare, Inspect and Models.
// It shows values it is given and computes no size.

#include "engine/run/events.h"
#include "engine/spec/model_spec.h"

#include <QString>
#include <QWidget>

#include <cstdint>
#include <vector>

namespace hs {

class LayerStrip : public QWidget {
    Q_OBJECT

public:
    explicit LayerStrip(QWidget* parent = nullptr);

    // The layers, empty of state.
    void set_spec(const ModelSpec& spec);
    // The same from stored words ("full attention", ...), for reopened sessions.
    void set_kinds(std::vector<MixerKind> kinds);
    void clear();
    // What is stored now. Entries without bytes leave the earlier ones in place.
    void set_state(const StateEvent& state);
    void set_entries(const std::vector<LedgerEntry>& entries, std::int64_t context_tokens);
    // What a full cell means: the largest layer at the context's end, the same for strips that are
    // compared. 0: the largest layer so far. The fill is logarithmic from 1 KiB to this.
    void set_full_scale(std::int64_t bytes);
    // A second figure per cell that is shown instead of the bytes ("3.1 ms"), e.g. time per token.
    void set_notes(std::vector<QString> notes);
    // The line above the cells: a title at its left, legend and totals at its right.
    void set_title(const QString& title);
    void set_caption_visible(bool visible);

    int layers() const { return static_cast<int>(m_kinds.size()); }
    int current_layer() const { return m_current; }
    void set_current_layer(int layer);
    std::int64_t layer_bytes(int layer) const;
    std::int64_t total_bytes() const;
    MixerKind kind(int layer) const { return m_kinds[static_cast<std::size_t>(layer)]; }
    // "Layer 3 of 8, gated delta: 66 KiB (recurrent state 64 KiB, conv state 2 KiB)."
    QString describe(int layer) const;
    QRect cell_rect(int layer) const;

    QSize sizeHint() const override;
    QSize minimumSizeHint() const override;
    bool hasHeightForWidth() const override { return true; }
    int heightForWidth(int width) const override;

signals:
    void layer_chosen(int layer); // by click, Enter or arrow

protected:
    void paintEvent(QPaintEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    void leaveEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void focusInEvent(QFocusEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    void changeEvent(QEvent* event) override;
    bool event(QEvent* event) override;

private:
    struct Grid {
        int columns = 1;
        int rows = 1;
        double cell_width = 0; // with its gap
        double row_height = 0;
        double top = 0;
    };
    Grid grid_for(int width) const;
    QRectF cell_area(const Grid& grid, int layer) const;
    int layer_at(const QPointF& point) const;
    double filled(std::int64_t bytes) const;
    int caption_height() const;
    void paint_caption(QPainter& painter) const;
    void paint_cell(QPainter& painter, const QRectF& area, int layer) const;
    void choose(int layer);
    void refresh_accessible();

    std::vector<MixerKind> m_kinds;
    std::vector<std::vector<LedgerEntry>> m_entries; // per layer
    std::vector<QString> m_notes;
    std::int64_t m_full_scale = 0;
    std::int64_t m_context_tokens = 0;
    QString m_title;
    bool m_caption_visible = true;
    int m_current = -1;
    int m_hovered = -1;
};

} // namespace hs
